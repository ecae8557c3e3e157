"""What a client measures of a server: times and speeds of a stand-in whose habits are known."""

from collections.abc import Iterator
from typing import Any

import pytest

from unillm.runtime.bench.serve.load import Load, drive
from unillm.runtime.bench.serve.measure import Served, Spread, Target, measure
from unillm.runtime.errors import PeerFailed, ServerUnreachable
from unillm.tests.support.endpoint import Habits, endpoint
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.serving import free_port

SMALL = Load(requests=6, concurrency=3, prompt_tokens=8, answer_tokens=5)


def measured(habits: Habits, load: Load = SMALL, **target: Any) -> Served:
    with endpoint(habits) as url:
        return measure(Target(url, **target), load, lambda *_: None)


def streams(habits: Habits) -> Iterator[dict[str, Any]]:
    return (body for body in habits.heard if body.get("stream"))


def test_every_request_is_asked_and_counted() -> None:
    habits = Habits()
    found = measured(habits)
    assert (len(found.answers), found.faults, habits.most <= 3) == (6, (), True)
    assert [len(body["prompt"].split()) for body in streams(habits)] == [4] * 6  # two tokens a word
    assert (found.prompt_tokens, found.answer_tokens) == (48, 30)
    assert found.tokens_per_second == pytest.approx(78 / found.seconds)
    assert found.answers_per_second == pytest.approx(30 / found.seconds)
    assert found.requests_per_second == pytest.approx(6 / found.seconds)


def test_no_two_prompts_are_the_same_and_no_run_repeats_another() -> None:
    habits = Habits()
    with endpoint(habits) as url:
        for _ in range(2):
            measure(Target(url), SMALL, lambda *_: None)
    prompts = [body["prompt"] for body in streams(habits)]
    assert len(set(prompts)) == len(prompts) == 12


def test_the_first_token_and_the_others_are_told_apart() -> None:
    found = measured(Habits(first=0.2, each=0.02), Load(1, 1, None, 8, 5))
    first, per_token, whole = found.spreads
    assert first.p50 > 0.2
    assert 0.02 < per_token.p50 < 0.1
    assert whole.p50 > first.p50 + 4 * per_token.p50 - 0.01


def test_a_server_that_knows_no_endless_answers_is_asked_without() -> None:
    habits = Habits(knows_eos=False)
    assert not measured(habits).faults
    assert not any("ignore_eos" in body for body in streams(habits))


def test_without_usage_pieces_are_counted() -> None:
    assert measured(Habits(tells_usage=False)).answer_tokens == 30


def test_conversations_are_measured_too() -> None:
    habits = Habits()
    assert measured(habits, chat=True).answer_tokens == 30
    assert all(body["messages"][0]["role"] == "user" for body in streams(habits))


def test_what_fails_is_counted_and_what_answers_measured() -> None:
    found = measured(Habits(fails=3))
    assert len(found.answers) == 4
    assert [fault for fault in found.faults if "503" in fault] == list(found.faults)
    with pytest.raises(PeerFailed, match="no request was answered"):
        measured(Habits(fails=1))


def test_the_first_model_of_a_server_is_asked_where_none_is_named() -> None:
    habits = Habits(model="first")
    measured(habits)
    assert {body["model"] for body in habits.heard} == {"first"}


def test_a_server_that_is_not_there_is_named() -> None:
    port = free_port()
    with pytest.raises(ServerUnreachable, match=str(port)):
        measure(Target(f"http://127.0.0.1:{port}/v1", "m"), SMALL, lambda *_: None)


def test_requests_come_at_a_rate() -> None:
    """Whatever the rate, the same pauses: 20 of them at 100 a second take about 0.2 s."""
    load = Load(requests=21, concurrency=21, rate=100.0)
    took = [drive(load, lambda number: number) for _ in range(2)]
    assert all(done == list(range(21)) for done, _ in took)
    assert all(0.1 < seconds < HANGS for _, seconds in took)


def test_the_ninety_ninth_of_a_hundred_is_the_nearest_rank() -> None:
    assert Spread("x", tuple(float(one) for one in range(1, 201))).p99 == 198
    assert Spread("x", (3.0,)).p99 == 3.0
