"""Every run does the same work on a prompt of its own; the first does not count."""

from collections.abc import Sequence

import pytest

from unillm.runtime.bench.measure import SHORT_PROMPT, Workload, measure, measure_form
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion, Timings, Usage


class Fake:
    """An engine that answers at once, and gets faster every time: 1, 2, 3 ... tokens a second."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[list[int]], SamplingParams]] = []

    def generate(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[Completion]:
        self.asked.append(([list(prompt) for prompt in prompts], params))
        speed = float(len(self.asked))
        tokens = params.max_tokens or 0
        timings = Timings(0.0, 1 / speed, 1.0, prompt_tokens_per_second=speed * 10, tokens_per_second=speed)
        return [
            Completion("", "", (0,) * tokens, "length", None, Usage(len(prompt), tokens, 0), timings)
            for prompt in prompts
        ]


def test_medians_leave_out_the_warm_up() -> None:
    figures = {one.name: one for one in measure(Fake(), 100, Workload(32, 4, 2, 3), lambda *_: None)}
    assert figures["prompt"].values == (20.0, 30.0, 40.0)
    assert figures["prompt"].median == 30.0
    assert figures["first token"].values == (1 / 2, 1 / 3, 1 / 4)
    assert figures["decode"].values == (6.0, 7.0, 8.0)
    assert len(figures["batch"].values) == 3


def test_no_two_prompts_are_equal_and_all_are_in_the_vocabulary() -> None:
    engine = Fake()
    measure(engine, 100, Workload(32, 4, 2, 3), lambda *_: None)
    prompts = [tuple(prompt) for asked, _ in engine.asked for prompt in asked]
    assert len(set(prompts)) == len(prompts) == 4 + 4 + 8
    assert {len(prompt) for prompt in prompts} == {32, SHORT_PROMPT}
    assert all(0 <= token < 100 for prompt in prompts for token in prompt)


def test_answers_are_greedy_and_go_on_past_end_tokens() -> None:
    engine = Fake()
    measure(engine, 100, Workload(32, 4, 2, 1), lambda *_: None)
    assert all(params.temperature == 0 and params.ignore_eos for _, params in engine.asked)
    assert [params.max_tokens for _, params in engine.asked] == [1, 1, 4, 4, 4, 4]


def test_the_listener_hears_each_run() -> None:
    heard: list[tuple[str, int, int]] = []
    measure(Fake(), 100, Workload(8, 4, 2, 2), lambda test, done, runs: heard.append((test, done, runs)))
    assert heard == [(test, done, 2) for test in ("prompt", "decode", "batch") for done in (0, 1, 2)]


def test_the_longest_request_is_known_beforehand() -> None:
    assert Workload(prompt_tokens=512, answer_tokens=64).longest == 513
    assert Workload(prompt_tokens=8, answer_tokens=64).longest == SHORT_PROMPT + 64


def test_answers_held_to_a_schema_are_compared_with_those_before_them() -> None:
    engine = Fake()
    figure = measure_form(engine, 100, Workload(8, 4, 2, 2), lambda *_: None)
    assert [params.form is not None for _, params in engine.asked] == [False, True] * 3
    assert figure.values == pytest.approx((100 * (3 / 4 - 1), 100 * (5 / 6 - 1)))
