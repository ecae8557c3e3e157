"""The sampler against a plain one in Python's own numbers, against `transformers`, and at every border."""

import math
import random
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from unillm.runtime.errors import InvalidParameter, NonFiniteLogits
from unillm.runtime.params import SamplingParams
from unillm.runtime.sampler import Chooser, Row, Sample, read_logprobs, sample


def scores(rows: int, vocabulary: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 2


def tokens(logits: Tensor, rows: list[Row]) -> list[int]:
    samples = sample(logits, rows)
    assert all(isinstance(s, Sample) for s in samples)
    return [s.token for s in samples if isinstance(s, Sample)]


def chooser_of(params: SamplingParams, prompt: Sequence[int] = (), chosen: Sequence[int] = ()) -> Chooser:
    chooser = Chooser(params, prompt)
    for token in chosen:
        chooser.saw(token)
    return chooser


def rows_of(params: SamplingParams, count: int, prompt: Sequence[int] = (), chosen: Sequence[int] = ()) -> list[Row]:
    chooser = chooser_of(params, prompt, chosen)
    return [Row(chooser, place) for place in range(count)]


def plain_distribution(
    logits: list[float], params: SamplingParams, prompt: Sequence[int] = (), chosen: Sequence[int] = ()
) -> dict[int, float]:
    """What may be chosen, and how likely: the definition, a token at a time."""
    penalty = params.repetition_penalty or 1.0
    for token in {*prompt, *chosen}:
        logits[token] = logits[token] * penalty if logits[token] < 0 else logits[token] / penalty
    for token in set(chosen):
        logits[token] -= params.presence_penalty or 0.0
        logits[token] -= (params.frequency_penalty or 0.0) * chosen.count(token)
    for token, bias in (params.logit_bias or {}).items():
        logits[token] += bias
    heat = 1.0 if params.temperature is None else params.temperature
    best = max(logits)
    weights = {token: math.exp((value - best) / heat) for token, value in enumerate(logits)}
    order = sorted(weights, key=lambda token: -weights[token])
    if params.top_k is not None and params.top_k > 0:
        order = order[: params.top_k]
    if params.top_p is not None:
        total, before = sum(weights[token] for token in order), 0.0
        kept: list[int] = []
        for token in order:
            if not kept or before < params.top_p * total:
                kept.append(token)
            before += weights[token]
        order = kept
    order = [token for token in order if weights[token] >= (params.min_p or 0.0)]
    if params.typical_p is not None and params.typical_p < 1:
        order = plain_typical({token: weights[token] for token in order}, params.typical_p)
    total = sum(weights[token] for token in order)
    return {token: weights[token] / total for token in order}


def plain_typical(weights: dict[int, float], share: float) -> list[int]:
    """The tokens whose surprise is nearest to the mean surprise, until they make up `share`; equals stay together."""
    total = sum(weights.values())
    chances = {token: weight / total for token, weight in weights.items() if weight}
    entropy = -sum(p * math.log(p) for p in chances.values())
    distance = {token: abs(-math.log(p) - entropy) for token, p in chances.items()}
    kept: list[int] = []
    mass = 0.0
    for token in sorted(distance, key=lambda token: distance[token]):
        if kept and mass >= share and distance[token] > distance[kept[-1]]:
            break
        kept.append(token)
        mass += chances[token]
    return kept


CASES = {
    "temperature": SamplingParams(temperature=0.7),
    "hot": SamplingParams(temperature=3.0),
    "top_k": SamplingParams(top_k=5),
    "top_p": SamplingParams(top_p=0.8),
    "min_p": SamplingParams(min_p=0.1),
    "top_k, then top_p": SamplingParams(top_k=20, top_p=0.7),
    "all": SamplingParams(temperature=1.5, top_k=30, top_p=0.9, min_p=0.02, repetition_penalty=1.3),
    "penalty": SamplingParams(repetition_penalty=1.8),
    "typical_p": SamplingParams(typical_p=0.5),
    "typical_p of few": SamplingParams(temperature=2.0, typical_p=0.6, top_k=12),
    "typical_p last of all": SamplingParams(top_k=40, top_p=0.95, min_p=0.01, typical_p=0.7),
    "presence": SamplingParams(presence_penalty=1.5),
    "frequency": SamplingParams(frequency_penalty=0.9, top_p=0.95),
    "negative penalties": SamplingParams(presence_penalty=-1.0, frequency_penalty=-0.5),
    "bias": SamplingParams(logit_bias={3: 2.5, 10: -100.0, 59: -0.5}),
    "every penalty and bias": SamplingParams(
        repetition_penalty=1.2, presence_penalty=0.7, frequency_penalty=0.4, logit_bias={17: 3, 8: 1.5}, typical_p=0.9
    ),
    "penalty below one": SamplingParams(repetition_penalty=0.6, top_k=8),
}


@pytest.mark.parametrize("name", CASES)
def test_choices_follow_the_plain_distribution(name: str) -> None:
    params, draws, prompt, chosen = CASES[name], 20_000, [3, 17, 3, 59], [8, 17, 8, 8]
    logits = scores(1, 60)
    expected = plain_distribution(logits[0].tolist(), params, prompt, chosen)
    counts = Counter(tokens(logits.expand(draws, -1), rows_of(params, draws, prompt, chosen)))
    assert set(counts) <= set(expected)
    for token, share in expected.items():
        assert counts[token] / draws == pytest.approx(share, abs=5 * math.sqrt(share / draws) + 1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_every_choice_is_one_that_the_plain_filters_leave(seed: int) -> None:
    chance = random.Random(seed)
    logits, prompt = scores(64, 200, seed), [chance.randrange(200) for _ in range(30)]
    choices = [
        SamplingParams(
            temperature=chance.choice([None, 0.3, 1.0, 2.0]),
            top_k=chance.choice([None, 0, 1, 3, 50, 500]),
            top_p=chance.choice([None, 0.0, 0.1, 0.9, 1.0]),
            min_p=chance.choice([None, 0.05, 1.0]),
            typical_p=chance.choice([None, None, 0.0, 0.2, 0.95, 1.0]),
            repetition_penalty=chance.choice([None, 0.5, 1.2]),
            presence_penalty=chance.choice([None, -2.0, 0.3, 2.0]),
            frequency_penalty=chance.choice([None, -0.4, 0.3, 2.0]),
            logit_bias=chance.choice([None, {}, {5: -100, 6: 100}, {7: 1.5, 150: -3.25}]),
            seed=chance.randrange(1000),
        )
        for _ in range(64)
    ]
    chosen = [chance.randrange(200) for _ in range(40)]
    rows = [Row(chooser_of(params, prompt, chosen), place) for place, params in enumerate(choices)]
    for token, row, params in zip(tokens(logits, rows), logits.tolist(), choices, strict=True):
        assert token in plain_distribution(row, params, prompt, chosen)


def test_the_filters_are_those_of_transformers() -> None:
    from transformers.generation.logits_process import (
        LogitsProcessorList,
        MinPLogitsWarper,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
        TypicalLogitsWarper,
    )

    logits, prompt, draws = scores(1, 80, 3), [4, 9, 70], 5000
    params = SamplingParams(temperature=1.4, top_k=25, top_p=0.9, min_p=0.03, typical_p=0.8, repetition_penalty=1.5)
    warpers = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(1.5),
            TemperatureLogitsWarper(1.4),
            TopKLogitsWarper(25),
            TopPLogitsWarper(0.9),
            MinPLogitsWarper(0.03),
            TypicalLogitsWarper(0.8),
        ]
    )
    expected = warpers(torch.LongTensor([prompt]), logits.clone()).softmax(-1)[0]
    counts = Counter(tokens(logits.expand(draws, -1), rows_of(params, draws, prompt)))
    assert set(counts) == set(expected.nonzero()[:, 0].tolist())
    for token, count in counts.items():
        assert count / draws == pytest.approx(expected[token].item(), abs=0.03)


@pytest.mark.parametrize("temperature", [0, 0.0, 1e-7, 9.9e-7])
def test_no_temperature_to_speak_of_is_greedy(temperature: float) -> None:
    """EN-14."""
    logits = scores(8, 50)
    params = SamplingParams(temperature=temperature, top_k=3, top_p=0.2)
    assert tokens(logits, rows_of(params, 8)) == logits.argmax(-1).tolist()


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=1e-6),
        SamplingParams(top_p=0.0),
        SamplingParams(top_k=1),
        SamplingParams(min_p=1.0),
        SamplingParams(min_p=1.0, typical_p=0.0),
        SamplingParams(temperature=1e-5, top_p=0.0, min_p=1.0, top_k=1),
    ],
)
def test_the_narrowest_filters_leave_the_likeliest_token(params: SamplingParams) -> None:
    """EN-14."""
    logits = scores(8, 50) * 50
    assert tokens(logits, rows_of(params, 8)) == logits.argmax(-1).tolist()


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(top_k=51),
        SamplingParams(top_k=-1),
        SamplingParams(top_k=10**9, top_p=1.0, min_p=0.0, typical_p=1),
    ],
)
def test_the_widest_filters_leave_every_token(params: SamplingParams) -> None:
    """EN-14."""
    logits = torch.zeros(3000, 50)
    assert set(tokens(logits, rows_of(params, 3000))) == set(range(50))


def test_an_unbounded_temperature_still_chooses() -> None:
    assert len(set(tokens(scores(500, 50), rows_of(SamplingParams(temperature=1e30), 500)))) > 40


def test_a_penalty_at_its_borders_chooses_a_token() -> None:
    logits = scores(4, 50)
    for penalty in (1e-300, 1e-30, 1e30, 1e300):
        for temperature in (0, 1, 1e300):
            params = SamplingParams(repetition_penalty=penalty, temperature=temperature)
            assert all(0 <= token < 50 for token in tokens(logits, rows_of(params, 4, list(range(40)))))


@pytest.mark.parametrize("bias", [100, -100])
@pytest.mark.parametrize("more", [{}, {"temperature": 0}, {"typical_p": 0.0}, {"top_p": 0.0}, {"top_k": 60}])
def test_the_same_bias_on_every_token_changes_nothing(bias: float, more: dict[str, float]) -> None:
    """EN-14."""
    logits = scores(50, 50)
    biased = SamplingParams(seed=1, logit_bias=dict.fromkeys(range(50), bias), **more)  # type: ignore[arg-type]
    plain = SamplingParams(seed=1, **more)  # type: ignore[arg-type]
    pairs = zip(tokens(logits, rows_of(biased, 50)), tokens(logits, rows_of(plain, 50)), strict=True)
    assert sum(a == b for a, b in pairs) >= 49  # a score loses some of its last bits to a bias of 100


@pytest.mark.parametrize("temperature", [0, 1, 1e300])
def test_a_bias_to_the_limit_bans_or_forces_a_token(temperature: float) -> None:
    """EN-14."""
    logits = scores(50, 50)
    banned = SamplingParams(temperature=0, logit_bias={int(t): -100 for t in logits.argmax(-1)})
    assert not set(tokens(logits, rows_of(banned, 50))) & set(logits.argmax(-1).tolist())
    forced = SamplingParams(temperature=min(temperature, 1), logit_bias={33: 100})
    assert set(tokens(logits, rows_of(forced, 50))) == {33}


def test_penalties_at_their_borders_choose_a_token_and_spare_what_is_ruled_out() -> None:
    """EN-14."""
    logits = scores(40, 50) * 1e30
    logits[:, 9] = -torch.inf
    logits[:, 8] = 0.0
    for repetition in (1e-300, 1.0, 1e300):
        for penalty in (-2, 0, 2):
            for temperature in (0, 1, 1e300):
                params = SamplingParams(
                    repetition_penalty=repetition,
                    presence_penalty=penalty,
                    frequency_penalty=penalty,
                    logit_bias={7: 100},
                    temperature=temperature,
                )
                rows = rows_of(params, 40, range(20), [0, 0, 8, 30])
                assert all(0 <= token < 50 for token in tokens(logits, rows))


def test_the_most_typical_token_need_not_be_the_likeliest() -> None:
    logits = torch.tensor([[0.6, 0.3, 0.05, 0.05]]).log()
    assert set(tokens(logits.expand(300, -1), rows_of(SamplingParams(typical_p=0.0), 300))) == {1}
    assert set(tokens(logits.expand(300, -1), rows_of(SamplingParams(typical_p=0.5), 300))) == {0, 1}


def test_a_typical_share_of_more_tokens_than_the_usual_candidates_is_exact_too() -> None:
    logits = scores(1, 4000) * 0.3
    for params in (SamplingParams(typical_p=0.3), SamplingParams(typical_p=0.3, top_p=0.999)):
        expected = plain_distribution(logits[0].tolist(), params)
        counts = Counter(tokens(logits.expand(500, -1), rows_of(params, 500)))
        assert set(counts) <= set(expected)
        assert len(expected) > 1000
        assert len(counts) > 300


def test_the_answers_of_one_seed_differ_and_the_first_is_the_only_one() -> None:
    logits, params = torch.zeros(1, 10_000), SamplingParams(seed=5)
    chosen = [tokens(logits, [Row(Chooser(params, choice=choice), 3)])[0] for choice in range(20)]
    assert len(set(chosen)) > 15
    assert chosen[0] == tokens(logits, [Row(Chooser(params), 3)])[0]


def test_given_tokens_are_read_with_the_models_own_logarithms() -> None:
    logits = scores(700, 5000)
    targets = [7 * i % 5000 for i in range(700)]
    expected = logits.double().log_softmax(-1)
    for i, one in enumerate(read_logprobs(logits, targets, 2)):
        assert one.token == targets[i]
        assert one.logprob == pytest.approx(expected[i, targets[i]].item(), abs=1e-5)
        assert [token for token, _ in one.top] == expected[i].topk(2).indices.tolist()
    assert [one.top for one in read_logprobs(logits, targets[:3], 0)] == [(), (), ()]
    assert len(read_logprobs(logits[:, :5], [1], 99)[0].top) == 5


def test_tokens_that_are_ruled_out_are_never_chosen() -> None:
    logits = torch.full((200, 50), -torch.inf)
    logits[:, [3, 40]] = 0.0
    for params in (
        SamplingParams(),
        SamplingParams(temperature=1e300),
        SamplingParams(top_p=0.99),
        SamplingParams(top_k=10),
    ):
        assert set(tokens(logits, rows_of(params, 200))) == {3, 40}


def test_a_seed_gives_the_same_tokens_alone_and_in_any_company() -> None:
    vocabulary = 5000
    logits = scores(40, vocabulary)
    choices = [CASES[name] for name in CASES] + [SamplingParams(temperature=0), SamplingParams(top_p=0.999, seed=3)]
    rows = [Row(Chooser(choices[i % len(choices)], [1, 2, i]), i) for i in range(40)]
    together = tokens(logits, rows)
    assert together == [tokens(logits[i : i + 1], [rows[i]])[0] for i in range(40)]
    backwards = tokens(logits.flip(0), rows[::-1])
    assert together == backwards[::-1]


def test_seeds_and_places_make_a_difference() -> None:
    logits = torch.zeros(1, 10_000)
    chosen = {
        tokens(logits, [Row(Chooser(SamplingParams(seed=seed)), place)])[0] for seed in range(10) for place in range(10)
    }
    assert len(chosen) > 95


def test_without_a_seed_two_requests_choose_differently() -> None:
    logits = torch.zeros(1, 10_000)
    assert len({tokens(logits, [Row(Chooser(SamplingParams()), 0)])[0] for _ in range(20)}) > 15


@pytest.mark.parametrize("params", [SamplingParams(top_p=0.999), SamplingParams(top_k=3000, top_p=0.999)])
def test_filters_that_leave_more_than_the_usual_candidates_are_exact_too(params: SamplingParams) -> None:
    logits = scores(1, 4000) * 0.1
    expected = plain_distribution(logits[0].tolist(), params, [])
    counts = Counter(tokens(logits.expand(3000, -1), rows_of(params, 3000)))
    assert set(counts) <= set(expected)
    rare = sorted(expected, key=lambda token: -expected[token])[1024:]
    share = sum(expected[token] for token in rare)
    assert sum(counts[token] for token in rare) / 3000 == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_scores_that_are_no_numbers_fail_their_own_row_only(bad: float) -> None:
    logits = scores(6, 50)
    logits[1, 20] = bad
    logits[4] = -math.inf
    for params in (SamplingParams(temperature=0), SamplingParams(), SamplingParams(top_p=0.5, logprobs=2)):
        rows = rows_of(params, 6)
        samples = sample(logits, rows)
        assert [isinstance(s, NonFiniteLogits) for s in samples] == [i in (1, 4) for i in range(6)]
        keep = [0, 2, 3, 5]
        assert [samples[i] for i in keep] == sample(logits[keep], [rows[i] for i in keep])


def test_logprobs_are_the_models_own() -> None:
    logits = scores(3, 50)
    params = [SamplingParams(temperature=0.2, top_k=2, logprobs=3), SamplingParams(), SamplingParams(logprobs=0)]
    samples = sample(logits, [Row(Chooser(p), 0) for p in params])
    expected = logits.log_softmax(-1)
    first, second, third = (s for s in samples if isinstance(s, Sample))
    assert first.logprob == pytest.approx(expected[0, first.token].item())
    best = expected[0].topk(3)
    assert [token for token, _ in first.top] == best.indices.tolist()
    assert [value for _, value in first.top] == pytest.approx(best.values.tolist())
    assert (second.logprob, second.top) == (None, ())
    assert third.logprob == pytest.approx(expected[2, third.token].item())
    assert third.top == ()


def test_more_logprobs_than_tokens_are_all_of_them() -> None:
    (only,) = sample(scores(1, 5), rows_of(SamplingParams(logprobs=99), 1))
    assert isinstance(only, Sample)
    assert len(only.top) == 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", True),
        ("top_k", -2),
        ("top_k", 2.5),
        ("top_p", 1.1),
        ("top_p", -0.1),
        ("min_p", 2),
        ("repetition_penalty", 0),
        ("typical_p", 1.5),
        ("presence_penalty", 2.1),
        ("presence_penalty", math.nan),
        ("frequency_penalty", -2.1),
        ("logit_bias", {5: 100.5}),
        ("logit_bias", {5: math.nan}),
        ("logit_bias", {-1: 1}),
        ("logit_bias", {"5": 1}),
        ("logit_bias", [5]),
        ("prompt_logprobs", -1),
        ("n", 0),
        ("n", None),
        ("n", 10**9),
        ("max_tokens", -1),
        ("logprobs", -1),
        ("seed", "x"),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop_token_ids", [-1]),
        ("stop_token_ids", ["a"]),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidParameter, match=f"{field} is"):
        SamplingParams(**{field: value})  # type: ignore[arg-type]


def test_what_was_left_open_is_filled_by_the_models_defaults() -> None:
    params = SamplingParams(top_k=5).over({"temperature": 0.6, "top_k": 20, "unknown": 1})
    assert (params.temperature, params.top_k, params.top_p) == (0.6, 5, None)


WIDE = [
    SamplingParams(top_p=0.9, temperature=1.5),
    SamplingParams(top_p=0.999),
    SamplingParams(min_p=1e-5, temperature=1.3),
    SamplingParams(top_k=5000, top_p=0.99),
    SamplingParams(typical_p=0.9),
    SamplingParams(typical_p=0.05),
    SamplingParams(typical_p=0.95, top_p=0.999),
]


@pytest.mark.parametrize("params", WIDE)
def test_a_large_vocabulary_is_filtered_as_if_it_were_sorted_whole(
    params: SamplingParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = scores(12, 20_000, 4)
    rows = [Row(Chooser(params), place) for place in range(12)]
    few = tokens(logits, rows)
    assert few == [tokens(logits[i : i + 1], [rows[i]])[0] for i in range(12)]
    allowed = plain_distribution(logits[0].tolist(), params)
    assert few[0] in allowed
    assert len(allowed) > 100
    monkeypatch.setattr("unillm.runtime.sampler.CANDIDATES", 20_000)
    assert tokens(logits, rows) == few


def test_equal_scores_are_chosen_from_alike_alone_and_in_company() -> None:
    logits = torch.zeros(30, 4000)
    logits[10:20] = scores(1, 4000).round()
    for params in (
        SamplingParams(temperature=0, logprobs=3),
        SamplingParams(top_k=5, seed=1),
        SamplingParams(top_k=1, seed=1),
        SamplingParams(top_p=0.3, seed=1),
        SamplingParams(min_p=1.0, seed=1),
        SamplingParams(typical_p=0.2, seed=1),
    ):
        rows = rows_of(params, 30)
        assert sample(logits, rows) == [sample(logits[i : i + 1], [rows[i]])[0] for i in range(30)]


def test_logprobs_are_log_softmax_whatever_else_is_asked() -> None:
    logits = scores(4, 3000)
    logits[2, 5:] = -torch.inf
    params = SamplingParams(logprobs=4, temperature=0.3, top_p=0.5, logit_bias={7: -100}, repetition_penalty=1.9)
    expected = logits.double().log_softmax(-1)
    for i, one in enumerate(sample(logits, rows_of(params, 4, range(9)))):
        assert isinstance(one, Sample)
        assert one.logprob == pytest.approx(expected[i, one.token].item(), abs=1e-5)
        assert [value for _, value in one.top] == pytest.approx(expected[i].topk(4).values.tolist(), abs=1e-5)
