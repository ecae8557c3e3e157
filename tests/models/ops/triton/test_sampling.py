"""Tokens that the kernel chooses: from what the filters leave, as often as they should be, alone as in company."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unillm.models.ops import gpu, reference_sampling
from unillm.models.ops.operands import Choosing
from unillm.runtime.params import SamplingParams
from unillm.runtime.sampler import Chooser, Row, Sample, sample

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

VOCABULARY = 1300  # more than a tile, and a tail


def choosing(rows: int, temperature: float = 1.0, **filters: float) -> Choosing:
    return Choosing(
        torch.full((rows,), temperature),
        torch.full((rows,), filters.get("top_p", 1.0)),
        torch.full((rows,), filters.get("min_p", 0.0)),
        torch.full((rows,), int(filters.get("top_k", 0))),
        torch.arange(rows) * 7919 + 12345678901,
        torch.arange(rows) + 5,
    )


def choose(scores: Tensor, how: Choosing) -> Tensor:
    return chosen_and_best(scores, how)[0]


def chosen_and_best(scores: Tensor, how: Choosing) -> tuple[Tensor, Tensor]:
    chosen, best = torch.full((len(scores),), -7), torch.zeros(len(scores))
    gpu.choose(scores, how, chosen, best)
    return chosen, best


def drawn_by_the_host(scores: Tensor, temperature: float, filters: dict[str, float]) -> Tensor:
    """How often each token is, by plain sampling with many seeds: shares of one."""
    params = SamplingParams(temperature=temperature, **filters)  # type: ignore[arg-type]
    rows = [Row(Chooser(replace(params, seed=seed)), 3) for seed in range(4000)]
    done = sample(scores.expand(len(rows), -1).contiguous(), rows)
    tokens = [one.token for one in done if isinstance(one, Sample)]
    return torch.bincount(torch.tensor(tokens), minlength=len(scores)) / len(rows)


def test_without_heat_the_likeliest_is_taken_and_the_first_of_equals() -> None:
    scores = torch.randn(3, VOCABULARY)
    scores[1, [70, 1250]] = 9.0
    assert choose(scores, choosing(3, 0.0)).tolist() == scores.argmax(-1).tolist()


@pytest.mark.parametrize(
    "filters",
    [
        {"min_p": 0.4},
        *[
            pytest.param(one, marks=pytest.mark.slow)
            for one in ({"top_k": 4}, {"top_p": 0.3}, {"top_p": 0.0}, {"top_k": 6, "top_p": 0.6})
        ],
    ],
    ids=str,
)
def test_what_the_filters_leave_is_chosen_and_nothing_else(filters: dict[str, float]) -> None:
    torch.manual_seed(0)
    scores = torch.cat((torch.randn(1, 40) - 30, 2 * torch.randn(1, 24)), 1)[:, torch.randperm(64)]
    rows = 30
    got = set(choose(scores.expand(rows, -1).contiguous(), choosing(rows, 1.5, **filters)).tolist())
    wanted = set(drawn_by_the_host(scores[0], 1.5, filters).nonzero()[:, 0].tolist())
    assert got <= wanted
    assert len(got) > 0.5 * len(wanted)


@pytest.mark.slow
@pytest.mark.parametrize("filters", [{}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.2}], ids=str)
def test_tokens_are_as_many_as_when_the_host_draws(filters: dict[str, float]) -> None:
    scores, rows = torch.tensor([0.3, 2.0, -1.0, 1.5, 0.9, -0.2, 1.1]), 200
    got = torch.bincount(choose(scores.expand(rows, -1).contiguous(), choosing(rows, 0.9, **filters)), minlength=7)
    wanted = drawn_by_the_host(scores, 0.9, filters) * rows
    assert torch.equal(got > 0, wanted > 0)
    assert float(((got - wanted) ** 2 / wanted.clamp(min=1)).sum()) < 22.5  # of six degrees, one in a thousand


@pytest.mark.slow
def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    shares, rows = torch.tensor([0.5, 0.25, 0.15, 0.1]), 800
    counts = torch.bincount(choose(shares.log().expand(rows, -1).contiguous(), choosing(rows)), minlength=4)
    expected = shares * rows
    assert float(((counts - expected) ** 2 / expected).sum()) < 16.3  # of three degrees of freedom, one in a thousand


def test_the_first_of_a_few_stay() -> None:
    scores = torch.tensor([[0.0, 2.0, 1.0, 1.5, -3.0]]).repeat(6, 1)
    assert set(choose(scores, choosing(6, 5.0, top_k=2)).tolist()) == {1, 3}


def test_a_row_draws_the_same_alone_and_in_company() -> None:
    scores = torch.randn(3, VOCABULARY)
    how = choosing(3, 0.8, top_p=0.9)
    together = choose(scores, how)
    odds = (how.temperature, how.top_p, how.min_p, how.top_k, how.seeds, how.places)
    alone = Choosing(*(one[2:3] for one in odds))
    assert choose(scores[2:3], alone).tolist() == together[2:3].tolist()


@pytest.mark.parametrize(
    "filters",
    [
        {"min_p": 0.05},
        *[
            pytest.param(one, marks=pytest.mark.slow)
            for one in ({}, {"top_k": 9}, {"top_p": 0.7}, {"top_k": 20, "top_p": 0.6, "min_p": 0.02})
        ],
    ],
    ids=str,
)
def test_plain_torch_chooses_the_same_by_the_same_noise(filters: dict[str, float]) -> None:
    scores, how = torch.randn(6, VOCABULARY) * 3, choosing(6, 1.2, **filters)
    how.temperature[4] = 0.0
    scores[5, 3], scores[2, 7:9] = torch.nan, 20.0
    chosen, best = torch.empty(6, dtype=torch.int64), torch.empty(6)
    reference_sampling.choose(scores, how, chosen, best)
    got = chosen_and_best(scores, how)
    assert got[0].tolist() == chosen.tolist()
    torch.testing.assert_close(got[1], best, equal_nan=True)


def test_the_noise_is_made_of_philoxs_numbers() -> None:
    """Of Random123's known answers, which have a counter of four words, those whose upper two are 0."""
    word = reference_sampling.philox(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]))
    assert word.item() == 0x6627E8D5


def test_seeds_and_places_make_other_choices() -> None:
    scores, how = torch.zeros(1, 64).expand(24, -1).contiguous(), choosing(24)
    same = torch.full((24,), 9)
    for one in (replace(how, seeds=same), replace(how, places=same)):
        assert len(set(choose(scores, one).tolist())) > 12
    assert len(set(choose(scores, replace(how, seeds=same, places=same)).tolist())) == 1


def test_scores_that_are_no_numbers_are_told_and_choose_a_token_that_there_is() -> None:
    scores = torch.randn(4, VOCABULARY)
    scores[0, 1299], scores[1, 3], scores[2] = torch.nan, torch.inf, -torch.inf
    chosen, best = chosen_and_best(scores, choosing(4))
    assert chosen.tolist()[:3] == [0, 0, 0]
    assert best.isnan().tolist() == [True, True, True, False]
    assert best[3] == scores[3].max()


def test_halves_are_chosen_from_as_the_numbers_that_they_are() -> None:
    scores = torch.randn(3, VOCABULARY).bfloat16()
    how = choosing(3, 0.8, top_p=0.9)
    assert choose(scores, how).tolist() == choose(scores.float(), how).tolist()


def test_what_is_forbidden_is_not_drawn() -> None:
    scores = torch.full((8, 70), -torch.inf)
    scores[:, [3, 66]] = 0.0
    assert set(choose(scores, choosing(8, 2.0, top_p=0.99)).tolist()) == {3, 66}
