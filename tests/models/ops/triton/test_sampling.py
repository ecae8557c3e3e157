"""Tokens that the kernel chooses: from what the filters leave, as often as they should be, alone as in company."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from unillm.models.ops.triton.sampling import Choosing, choose

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

VOCABULARY = 1300  # more than a tile, and a tail


def choosing(rows: int, temperature: float = 1.0, **filters: float) -> Choosing:
    return Choosing(
        torch.full((rows,), temperature),
        torch.full((rows,), int(filters.get("top_k", 0)), dtype=torch.int32),
        torch.full((rows,), filters.get("top_p", 1.0)),
        torch.full((rows,), filters.get("min_p", 0.0)),
        torch.arange(rows) * 7919 + 12345678901,
        torch.arange(rows) + 5,
    )


def left(scores: Tensor, temperature: float, filters: Mapping[str, float]) -> set[int]:
    """What the filters leave, by sorting, in fp64."""
    weights, order = (scores.double() / temperature).softmax(-1).sort(descending=True)
    weights = weights[: int(filters.get("top_k", len(scores)))]
    before = weights.cumsum(-1) - weights
    kept = (before < filters.get("top_p", 1.0) * weights.sum()) & (weights >= filters.get("min_p", 0.0) * weights[0])
    kept[0] = True
    return set(order[: len(weights)][kept].tolist())


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
    wanted = left(scores[0], 1.5, filters)
    assert got <= wanted
    assert len(got) > 0.5 * len(wanted)


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
    alone = Choosing(
        how.temperature[2:3], how.top_k[2:3], how.top_p[2:3], how.min_p[2:3], how.seeds[2:3], how.places[2:3]
    )
    assert choose(scores[2:3], alone).tolist() == together[2:3].tolist()


def test_scores_that_are_no_numbers_choose_nothing() -> None:
    scores = torch.randn(4, VOCABULARY)
    scores[0, 1299], scores[1, 3], scores[2] = torch.nan, torch.inf, -torch.inf
    assert choose(scores, choosing(4)).tolist()[:3] == [-1, -1, -1]


def test_what_is_forbidden_is_not_drawn() -> None:
    scores = torch.full((8, 70), -torch.inf)
    scores[:, [3, 66]] = 0.0
    assert set(choose(scores, choosing(8, 2.0, top_p=0.99)).tolist()) == {3, 66}
