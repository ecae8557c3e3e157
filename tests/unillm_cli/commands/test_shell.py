"""`unillm shell`, `run` and `history` without a terminal: lines go in, answers and sentences come out."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from unillm.runtime.errors import InvalidParameter, NonFiniteLogits
from unillm.runtime.params import SamplingParams
from unillm.tests.unillm_cli.doors import Ran, run
from unillm.tests.unillm_cli.fakes import FakeEngine
from unillm.unillm_cli.client import Opened
from unillm.unillm_cli.session import Session
from unillm.unillm_cli.settings import Settings
from unillm.unillm_cli.shell.library import Card

Shell = Callable[..., Ran]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    return FakeEngine("Gra", "vity.", context=1000).install(monkeypatch)


@pytest.fixture
def places(tmp_path: Path) -> Mapping[str, str]:
    return {"UNILLM_STATE": str(tmp_path / "state"), "UNILLM_HOME": str(tmp_path / "home"), "UNILLM_OFFLINE": "1"}


@pytest.fixture
def shell(places: Mapping[str, str]) -> Shell:
    def go(*lines: str, flags: tuple[str, ...] = (), **environ: str) -> Ran:
        text = "".join(f"{line}\n" for line in lines)
        return run("shell", "--local", *flags, stdin=text, environ={**places, **environ})

    return go


def test_every_line_is_a_question_and_the_answers_are_on_standard_output(shell: Shell, engine: FakeEngine) -> None:
    assert shell("Why?", "And?") == (0, "Gravity.\nGravity.\n", "")
    assert [len(asked) for asked in engine.asked if isinstance(asked, list)] == [1, 3]


def test_the_model_may_be_named_as_in_generate(shell: Shell, engine: FakeEngine) -> None:
    for flags in (("--model", "other:1b"), ("other:1b",)):
        assert shell("Why?", flags=flags).code == 0
        assert engine.settings is not None
        assert engine.settings.model == "other:1b"
    assert shell("Why?", flags=("other:1b", "-m", "other:1b")).code == 2


@pytest.mark.usefixtures("engine")
def test_a_wrong_word_is_told_and_the_shell_goes_on(shell: Shell) -> None:
    ran = shell("/cler", "/set nothing", "/set parameter temprature 1", "/set parameter temperature x", "/show x", "Hi")
    assert (ran.code, ran.out) == (1, "Gravity.\n")
    for words in ("did you mean /clear?", "/set knows no 'nothing'", "'temprature' is not a parameter", "not a number"):
        assert words in ran.err


def test_parameters_are_set_by_the_names_that_ollamas_users_know(shell: Shell, engine: FakeEngine) -> None:
    lines = ["num_predict 7", "temperature 0.5", "repeat_penalty 1.1", "stop A B", "seed 3", "top_p 9"]
    ran = shell(*(f"/set parameter {line}" for line in lines), "Hi", "/show parameters")
    wanted = SamplingParams(max_tokens=7, temperature=0.5, repetition_penalty=1.1, stop=["A", "B"], seed=3)
    assert engine.params == wanted
    assert "top_p" in ran.err


def test_num_ctx_has_the_model_loaded_again(shell: Shell, engine: FakeEngine) -> None:
    shell("/set parameter num_ctx 77", "Hi")
    assert engine.settings is not None
    assert engine.settings.context == 77


def test_a_num_ctx_that_cannot_be_leaves_things_as_they_are(
    shell: Shell, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(session: Session, settings: Settings) -> AbstractContextManager[Opened]:
        if settings.context == 99:
            raise InvalidParameter("context", 99, "at most 77")
        return engine.open(session, settings)

    monkeypatch.setattr("unillm.unillm_cli.speaking.open_engine", limited)
    ran = shell("/set parameter num_ctx 99", "Hi")
    assert (ran.code, ran.out) == (2, "Gravity.\n")
    assert engine.settings is not None
    assert engine.settings.context is None


def test_a_model_made_of_what_was_said_begins_with_it_once(
    shell: Shell, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unillm.unillm_cli.shell.voice.find_model", lambda *_: None)
    monkeypatch.setattr("unillm.unillm_cli.shell.library.card", lambda *_: Card([], "", None, None, None, messages=2))
    ran = shell("Hi", "/load mine", "And?")
    assert "mine has 2 messages of its own" in ran.err
    assert engine.asked[-1] == [{"role": "user", "content": "And?"}]


@pytest.mark.usefixtures("engine")
def test_a_parameter_that_is_set_without_its_word_is_understood(shell: Shell) -> None:
    assert "did you mean /set parameter temperature 1?" in shell("/set temprature 1").err
    assert "did you mean /set verbose?" in shell("/set verbos").err
    assert "/set lists what it knows" in shell("/set zzz").err


def test_a_system_message_comes_first_and_can_be_taken_away(shell: Shell, engine: FakeEngine) -> None:
    ran = shell("/system Be brief", "Hi", '/set system """one', 'two"""', "Hi", '/system ""', "Hi", "/system")
    first, second, third = (asked[0] for asked in engine.asked if isinstance(asked, list))
    assert first == {"role": "system", "content": "Be brief"}
    assert second["content"] == "one\ntwo"
    assert third["role"] == "user"
    assert "no system message is set" in ran.out


def test_retry_asks_the_last_question_again(shell: Shell, engine: FakeEngine) -> None:
    ran = shell("/retry", "Hi", "/retry")
    assert "no question yet" in ran.err
    assert engine.asked == [[{"role": "user", "content": "Hi"}]] * 2


def test_clear_begins_anew_and_the_old_conversation_stays(
    shell: Shell, engine: FakeEngine, places: Mapping[str, str]
) -> None:
    shell("Hi", "/clear", "You")
    assert [len(asked) for asked in engine.asked if isinstance(asked, list)] == [1, 1]
    listed = json.loads(run("history", "--json", environ=places).out)["conversations"]
    assert [one["messages"] for one in listed] == [2, 2]


def test_a_question_is_changed_in_an_editor(shell: Shell, engine: FakeEngine, tmp_path: Path) -> None:
    editor = tmp_path / "my editor"
    editor.write_text('#!/bin/sh\nprintf " and why?" >> "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    shell("How", "/edit", EDITOR=f'"{editor}"')
    assert engine.asked[-1] == [{"role": "user", "content": "How and why?"}]
    assert "nothing was changed" in shell("How", "/edit", EDITOR="true").err
    assert "no/editor" in shell("How", "/edit", EDITOR="no/editor").err
    assert "false failed" in shell("How", "/edit", EDITOR="false").err


@pytest.mark.usefixtures("engine")
def test_tokens_tells_how_full_the_context_is(shell: Shell) -> None:
    out = shell("one two three", "/tokens").out
    assert "the conversation has 4 of 1,000 tokens of context" in out
    assert "2 tokens at 1.0 tokens/s" in out


def test_before_old_turns_go_it_is_said(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("w " * 20, context=100).install(monkeypatch)
    ran = shell(*["q " * 10] * 5)
    assert "the context is nearly full" not in ran.err  # the fake's own count says it is not
    assert "the model no longer reads its 2 oldest messages, 2 more than before" in ran.err
    asked = [one for one in engine.asked if isinstance(one, list)]
    assert [len(one) for one in asked] == [1, 3, 5, 5, 5]


def test_a_context_that_fills_is_told_of_once(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeEngine("x", context=13).install(monkeypatch)
    ran = shell("a", "b")
    assert ran.err.count("the context is nearly full: 11 of 13 tokens (84 %)") == 1


def test_an_answer_that_fails_is_told_and_not_kept(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("half", error=NonFiniteLogits(1), finish="error", context=1000).install(monkeypatch)
    ran = shell("Hi", "Again")
    assert ran.code == 1
    assert ran.err.count("error: ") == 2
    assert engine.asked[-1] == [{"role": "user", "content": "Again"}]


def test_a_model_without_a_template_continues_text(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("x", template=False, context=1000).install(monkeypatch)
    assert shell("Once", "Twice").code == 0
    assert engine.asked == ["Once", "Twice"]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "line", ["/load /etc/passwd", "/save ../../x", "/save /tmp/x", "/save", "/load", "/schema [1]"]
)
def test_a_name_is_never_a_way_out(shell: Shell, line: str, tmp_path: Path) -> None:
    """SH-07"""
    ran = shell(line, "Hi")
    assert (ran.code > 0, ran.out) == (True, "Gravity.\n")
    assert "error: " in ran.err
    assert not (tmp_path / "home").exists() or not list((tmp_path / "home").rglob("*x*"))


def test_a_path_is_no_command(shell: Shell, engine: FakeEngine) -> None:
    shell("/usr/bin is what?", "/ is what?")
    assert [asked[-1]["content"] for asked in engine.asked if isinstance(asked, list)] == [
        "/usr/bin is what?",
        "/ is what?",
    ]


@pytest.mark.usefixtures("engine")
def test_help_lists_every_command(shell: Shell) -> None:
    out = shell("/?", "/? set", "/? show", "/? shortcuts").out
    for word in ("/set", "/show", "/load", "/save", "/clear", "/retry", "/edit", "/system", "/tokens", "/models"):
        assert word in out
    for word in ("/schema", "/bye", "/?", "Ctrl-C", "/set parameter", "/show license"):
        assert word in out


@pytest.mark.usefixtures("engine")
def test_bye_leaves(shell: Shell) -> None:
    assert shell("/bye", "Hi") == (0, "", "")


@pytest.mark.usefixtures("engine")
def test_where_nothing_can_be_kept_talk_goes_on(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    ran = shell("Hi", "You")
    assert (ran.code, ran.out) == (0, "Gravity.\nGravity.\n")
    assert ran.err.count("this conversation is not kept") == 1


@pytest.mark.usefixtures("engine")
def test_a_conversation_is_listed_shown_continued_and_removed(shell: Shell, places: Mapping[str, str]) -> None:
    shell("Why \x1b[31m \u202e?", flags=("--system", "Be brief"))
    listed = run("history", environ=places)
    assert "Why \\u001b[31m \\u202e?" in listed.out
    [one] = json.loads(run("history", "--json", environ=places).out)["conversations"]
    assert "Gravity." in run("history", "show", one["id"], environ=places).out
    ran = shell("And?", flags=("--resume", one["id"]))
    assert f"conversation {one['id']} with" in ran.err
    assert (
        json.loads(run("history", "show", one["id"], "--json", environ=places).out)["messages"][-2]["content"] == "And?"
    )
    assert run("history", "rm", one["id"], environ=places).code == 0
    assert json.loads(run("history", "--json", environ=places).out)["conversations"] == []


@pytest.mark.usefixtures("engine")
def test_a_damaged_conversation_is_told_of_and_skipped(shell: Shell, places: Mapping[str, str], tmp_path: Path) -> None:
    shell("Hi")
    (tmp_path / "state" / "conversations" / "20990101-000000-dead.json").write_text("{")
    listed = run("history", environ=places)
    assert listed.code == 0
    assert "holds no conversation: it is not JSON" in listed.err
    assert "Hi" in listed.out
    assert shell("You", flags=("--continue",)).code == 0
    assert run("history", "rm", "20990101-000000-dead", environ=places).code == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("history", "show"), 2),
        (("history", "rm"), 2),
        (("history", "rm", "x", "--all"), 2),
        (("history", "show", "../x"), 3),
        (("history", "jump"), 2),
        (("shell", "--continue", "--local"), 3),
        (("shell", "--resume", "no-such", "--local"), 3),
    ],
)
def test_what_cannot_be_is_an_error_with_a_code(words: tuple[str, ...], code: int, places: Mapping[str, str]) -> None:
    ran = run(*words, environ=places)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")


@pytest.mark.usefixtures("engine")
def test_run_answers_a_prompt_that_is_typed_or_piped() -> None:
    assert run("run", "fake:1b", "Why?", "--local") == (0, "Gravity.\n", "")
    assert run("run", "fake:1b", "--local", stdin="Why?") == (0, "Gravity.\n", "")
    assert "is fetched first" in " ".join(run("run", "--help").out.split())


def test_run_takes_what_is_piped_before_what_is_typed(engine: FakeEngine) -> None:
    run("run", "fake:1b", "Summarise", "--local", "--system", "Be brief", stdin="a text\n")
    assert engine.asked == [
        [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "a text\nSummarise"}]
    ]


def test_a_schema_is_part_of_what_is_asked(shell: Shell, engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "object", "required": ["a"]}')
    shell(f"/schema {tmp_path / 's.json'}", "Hi")
    assert json.loads(str(engine.params.schema)) == {"type": "object", "required": ["a"]}
    shell("/set format json", "Hi")
    assert json.loads(str(engine.params.schema)) == {"type": "object"}
    shell("/set format json", "/set noformat", "Hi")
    assert engine.params.schema is None


def test_a_schema_that_no_answer_can_follow_is_refused_when_it_is_set(shell: Shell, engine: FakeEngine) -> None:
    ran = shell('/schema {"type": "bad"}', "/schema", '/schema {"a": NaN}', "/schema none.json", "Hi")
    assert (ran.code, ran.out) == (2, "no schema is set\nGravity.\n")
    assert "it is bad" in ran.err
    assert "NaN is no number of JSON" in ran.err
    assert "/schema none.json: No such file" in ran.err
    assert engine.params.schema is None


def test_what_failed_in_a_pipe_is_told_by_the_code_and_at_a_terminal_only_in_words(
    monkeypatch: pytest.MonkeyPatch, places: Mapping[str, str]
) -> None:
    FakeEngine("half", error=NonFiniteLogits(1), finish="error", context=1000).install(monkeypatch)
    for piped, code in ((True, 1), (False, 0)):
        assert run("shell", "--local", stdin="Hi\n/set nothing\n", piped=piped, environ=places).code == code


def test_a_model_is_told_to_think_and_not_to(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, places: Mapping[str, str]
) -> None:
    engine = FakeEngine("Yes.", thoughts=["Hm."], context=1000).install(monkeypatch)
    ran = shell("A", "/set think", "B", "/set think high", "C", "/set nothink", "D", "/set think hardly")
    assert ran.out == "Yes.\n" * 4
    assert "there is no effort 'hardly'" in ran.err
    assert [one.get("enable_thinking") for one in engine.told] == [None, True, True, False]
    shell("E", flags=("--continue",))
    shell("F", flags=("--effort", "low"))
    assert [one.get("reasoning_effort") for one in engine.told[2:]] == ["high", None, None, "low"]
    lines = "Hi\n/set nothoughts\nHi\n"
    plain = {**places, "NO_COLOR": "1"}
    seen = run("shell", "--local", stdin=lines, piped=False, terminal=True, environ={**plain, "TERM": "dumb"}).out
    assert (seen.count("Thinking...\nHm.\n...done thinking.\n\nYes.\n"), seen.count("Yes.")) == (1, 2)


@pytest.mark.usefixtures("engine")
def test_a_model_that_does_not_think_is_not_told_to(shell: Shell) -> None:
    ran = shell("/set think", "Hi")
    assert (ran.code, ran.out) == (2, "Gravity.\n")
    assert "fake:1b does not think" in ran.err
    assert (shell("Hi", flags=("--think",)).code, shell("Hi", flags=("--no-think",)).code) == (2, 0)


@pytest.mark.usefixtures("engine")
def test_a_working_directory_that_is_gone_is_no_matter(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SH-08"""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert shell("Hi") == (0, "Gravity.\n", "")
    os.chdir(tmp_path)


def test_help_imports_no_line_editor_and_no_engine() -> None:
    script = "import sys; from unillm.unillm_cli.app import main; main(['run', '--help']); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "prompt_toolkit", "rich.markdown", "httpx"} & set(ran.stdout.splitlines()[-1].split())
