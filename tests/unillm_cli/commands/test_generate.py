"""`unillm generate`: what it asks an engine for, what it prints, how it ends."""

import json

import pytest

from unillm.runtime.errors import NonFiniteLogits
from unillm.runtime.params import SamplingParams
from unillm.tests.unillm_cli.doors import run
from unillm.tests.unillm_cli.fakes import FakeEngine
from unillm.unillm_cli.settings import Settings

HI = {"role": "user", "content": "Hi"}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    return FakeEngine("Gra", "vity", " pulls.").install(monkeypatch)


@pytest.mark.usefixtures("engine")
def test_the_answer_is_on_standard_output_and_nothing_else() -> None:
    assert run("generate", "Hi") == (0, "Gravity pulls.\n", "")


def test_a_prompt_goes_through_the_chat_template_where_there_is_one(engine: FakeEngine) -> None:
    run("generate", "--prompt", "Hi")
    assert engine.asked == [[HI]]


def test_a_system_message_comes_first(engine: FakeEngine) -> None:
    run("generate", "Hi", "--system", "Be brief")
    assert engine.asked == [[{"role": "system", "content": "Be brief"}, HI]]


def test_raw_is_plain_text(engine: FakeEngine) -> None:
    run("generate", "--raw", stdin="def f():\n")
    assert engine.asked == ["def f():\n"]


def test_without_a_template_the_prompt_is_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("x", template=False).install(monkeypatch)
    assert run("generate", "Hi").code == 0
    assert engine.asked == ["Hi"]


def test_a_system_message_without_a_template_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeEngine("x", template=False).install(monkeypatch)
    ran = run("generate", "Hi", "--system", "Be brief")
    assert (ran.code, ran.out) == (1, "")
    assert "has no chat template" in ran.err


def test_raw_and_a_system_message_exclude_each_other(engine: FakeEngine) -> None:
    ran = run("generate", "Hi", "--raw", "--system", "x")
    assert ran.code == 2
    assert engine.asked == []


def test_no_prompt_is_a_usage_error_and_loads_nothing(engine: FakeEngine) -> None:
    ran = run("generate", piped=False)
    assert (ran.code, engine.settings) == (2, None)
    assert "there is no prompt" in ran.err


def test_sampling_flags_arrive(engine: FakeEngine) -> None:
    flags = "-n 7 -t 0.5 --top-k 3 --top-p 0.9 --min-p 0.1 --repetition-penalty 1.1 --seed 4 --stop A --stop B"
    run("generate", "Hi", *flags.split())
    params = engine.params
    assert (params.max_tokens, params.temperature, params.top_k, params.top_p) == (7, 0.5, 3, 0.9)
    assert (params.min_p, params.repetition_penalty, params.seed, params.stop) == (0.1, 1.1, 4, ("A", "B"))


def test_penalties_and_biases_arrive(engine: FakeEngine) -> None:
    flags = "--typical-p 0.7 --presence-penalty 0.5 --frequency-penalty -0.5 --logit-bias 12=-5 --logit-bias 7=2.5"
    run("generate", "Hi", *flags.split())
    params = engine.params
    assert (params.typical_p, params.presence_penalty, params.frequency_penalty) == (0.7, 0.5, -0.5)
    assert params.logit_bias == {12: -5.0, 7: 2.5}


def test_flags_not_given_are_left_to_the_model(engine: FakeEngine) -> None:
    engine.defaults = {"temperature": 0.6}
    run("generate", "Hi")
    assert engine.params == SamplingParams()


def test_where_nobody_says_how_to_sample_it_is_the_usual_way(engine: FakeEngine) -> None:
    run("generate", "Hi", "--top-k", "7")
    assert engine.params == SamplingParams(temperature=0.8, top_k=7, top_p=0.9)
    run("generate", "Hi", "-t", "0")
    assert engine.params == SamplingParams(temperature=0)


def test_what_the_model_states_counts_more_than_the_usual_way(engine: FakeEngine) -> None:
    engine.defaults = {"top_p": 0.95, "top_k": 20, "max_tokens": 10_000}
    run("generate", "Hi")
    assert engine.params == SamplingParams(temperature=0.8, top_k=20, top_p=0.95)


BIASES = [f"--logit-bias {text}" for text in ("5", "5=", "=5", "x=1", "5=x", "5=nan", "5=101", "-5=1")]


@pytest.mark.parametrize(
    "flags", ["-t -1", "--top-p 2", "-n -1", "--repetition-penalty 0", "--seed x", "--stop=", *BIASES]
)
def test_a_value_out_of_range_is_a_usage_error(engine: FakeEngine, flags: str) -> None:
    ran = run("generate", "Hi", *flags.split())
    assert (ran.code, ran.out, engine.settings) == (2, "", None)


def test_where_and_how_it_runs_arrives_in_the_settings(engine: FakeEngine) -> None:
    flags = "-m llama3:8b --device cpu --dtype float32 --context 99 --exact --offline"
    batch = "--prefix-cache hash --max-batch-tokens 256 --max-running 16"
    run("generate", "Hi", *flags.split(), *batch.split())
    settings = engine.settings
    assert isinstance(settings, Settings)
    assert (settings.model, settings.device, settings.dtype) == ("llama3:8b", "cpu", "float32")
    assert (settings.context, settings.exact, settings.offline) == (99, True, True)
    assert (settings.prefix_cache, settings.max_batch_tokens, settings.max_running) == ("hash", 256, 16)


@pytest.mark.usefixtures("engine")
def test_json_is_one_object_with_the_names_that_clients_know() -> None:
    ran = run("generate", "Hi", "--json")
    assert ran.code == 0
    assert json.loads(ran.out) == {
        "model": "fake:1b",
        "response": "Gravity pulls.",
        "done": True,
        "done_reason": "stop",
        "total_duration": 3_100_000_000,
        "load_duration": 500_000_000,
        "prompt_eval_count": 10,
        "prompt_eval_cached": 0,
        "prompt_eval_duration": 500_000_000,
        "eval_count": 3,
        "eval_proposed": 0,
        "eval_accepted": 0,
        "eval_duration": 2_000_000_000,
    }


@pytest.mark.usefixtures("engine")
def test_verbose_tells_the_timings_on_standard_error() -> None:
    ran = run("generate", "Hi", "--verbose")
    assert ran.out == "Gravity pulls.\n"
    assert ran.err.splitlines() == [
        "total duration:       3.10s",
        "load duration:        500ms",
        "prompt eval count:    10 token(s)",
        "prompt eval duration: 500ms",
        "prompt eval rate:     20.00 tokens/s",
        "eval count:           3 token(s)",
        "eval duration:        2.00s",
        "eval rate:            1.00 tokens/s",
    ]


def test_an_answer_that_the_context_cut_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeEngine("x", "y", "z", finish="length").install(monkeypatch)
    assert "the context of 13 tokens is full" in run("generate", "Hi").err
    assert run("generate", "Hi", "-n", "3").err == ""


def test_an_answer_that_the_models_own_limit_cut_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeEngine("x", finish="length").install(monkeypatch)
    assert "the model's own limit of 1 tokens" in run("generate", "Hi").err


def test_an_error_in_the_middle_keeps_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeEngine("half an ", "answer", finish="error", error=NonFiniteLogits(12)).install(monkeypatch)
    ran = run("generate", "Hi")
    assert (ran.code, ran.out) == (1, "half an answer\n")
    assert ran.err == "error: non-finite logits after token 12\n"


@pytest.mark.parametrize(("terminal", "shown"), [(True, "ab\n"), (False, "a\x1b]52;c;eA==\x07b\n")])
def test_escape_codes_reach_a_pipe_and_never_a_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, shown: str
) -> None:
    """SH-01"""
    FakeEngine("a\x1b", "]52;c;", "eA==\x07", "b").install(monkeypatch)
    assert run("generate", "Hi", terminal=terminal).out == shown


def test_an_endless_escape_sequence_hides_nothing_that_follows_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeEngine("\x1b]0;title", "\nvisible").install(monkeypatch)
    assert run("generate", "Hi", terminal=True).out == "\nvisible\n"
