"""`unillm bench`: a table for people, the same as data for programs."""

import json

import pytest

from unillm.runtime.bench import throughput
from unillm.runtime.bench.throughput import Crowd
from unillm.tests.unillm_cli.doors import run
from unillm.tests.unillm_cli.fakes import FakeEngine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    return FakeEngine().install(monkeypatch)


@pytest.mark.usefixtures("engine")
def test_it_prints_a_row_a_test() -> None:
    code, out, err = run("bench", "fake:1b", "--runs", "2", "--prompt-tokens", "8", "--answer-tokens", "4")
    assert code == 0
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "TEST",
        "load",
        "prompt",
        "first token",
        "decode",
        "batch",
        "step",
        "preparation",
        "overhead",
        "peak memory",
        "kernels",
    ]
    assert "0.50 s" in out
    assert "20 tokens/s" in out
    assert "prompt: 2 of 2 runs" in err


@pytest.mark.usefixtures("engine")
def test_quiet_prints_the_table_alone() -> None:
    assert run("bench", "--quiet", "--runs", "1").err == ""


def test_without_kernels_it_says_so(engine: FakeEngine) -> None:
    engine.kernels = None
    assert "none" in run("bench", "--runs", "1").out.splitlines()[-1]
    assert json.loads(run("bench", "--json", "--runs", "1").out)["kernels"] is None


@pytest.mark.usefixtures("engine")
def test_json_has_every_run() -> None:
    data = json.loads(run("bench", "--json", "--runs", "2", "--batch", "3").out)
    assert (data["model"], data["load_seconds"]) == ("fake:1b", 0.5)
    assert data["kernels"] == "avx512"
    assert data["workload"] == {"prompt_tokens": 512, "answer_tokens": 64, "batch": 3, "runs": 2}
    assert [len(one["values"]) for one in data["figures"]] == [2, 2, 2, 2, 2, 2, 2]
    assert data["figures"][-2]["of"] == "scheduling and batch preparation for 256 running sequences"
    assert data["figures"][0] | {"values": None} == {
        "name": "prompt",
        "unit": "tokens/s",
        "of": "512 tokens",
        "median": 20.0,
        "values": None,
    }


def test_a_context_too_short_for_the_work_is_said_before_anything_is_loaded(engine: FakeEngine) -> None:
    ran = run("bench", "--context", "100")
    assert (ran.code, engine.settings) == (2, None)
    assert "513 tokens" in ran.err


def test_throughput_is_of_random_weights_and_needs_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "Crowd", lambda: Crowd(requests=2, least=2, most=4))
    data = json.loads(run("bench", "--throughput", "qwen3-tiny", "--device", "cpu", "--json").out)
    assert [one["name"] for one in data["figures"]] == ["throughput", "steps"]
    assert (data["model"], data["workload"]["requests"]) == ("random weights of qwen3-tiny", 2)


def test_a_shape_that_is_not_known_is_refused_with_those_that_are() -> None:
    result = run("bench", "--throughput", "qwen9")
    assert result.code == 2
    assert "qwen3-0.6b" in result.err
