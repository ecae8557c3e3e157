"""The door: help is quick, mistakes are sentences, endings have their codes."""

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from unillm.tests.unillm_cli.doors import run
from unillm.unillm_cli import app
from unillm.unillm_cli.errors import OutputFailed, ReaderLeft, UsageError
from unillm.unillm_cli.options import ContextOption, ModelArgument
from unillm.unillm_cli.session import Session

Probe = Callable[[Session], None]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Callable[[Probe], None]:
    """A command `probe` whose body a test gives."""

    def install(body: Probe) -> None:
        def probe(session: Session, model: ModelArgument = "none", context: ContextOption = None) -> None:
            """Try the door."""
            session.output.line(f"{model} {context} json={session.json}")
            body(session)

        module = ModuleType("unillm.unillm_cli.commands.probe")
        vars(module)["probe"] = probe
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(app, "COMMANDS", (app.Verb("probe", "Try the door.", ("try",)), *app.COMMANDS))

    return install


def raising(error: BaseException) -> Probe:
    def body(_session: Session) -> None:
        raise error

    return body


def nothing(_session: Session) -> None:
    return None


def test_alone_it_prints_its_help() -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert out == run("--help").out
    assert all(verb.name in out and verb.summary in out for verb in app.COMMANDS if not verb.hidden)


def test_it_tells_its_version() -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("unillm 0.")
    assert run("-v").out == out


def test_help_may_be_asked_for_as_a_command() -> None:
    assert run("help") == run("help", "help") == run("--help")
    assert run("help", "rm") == run("rm", "--help")
    assert run("help", "bench", "compare") == run("bench", "compare", "--help")
    assert run("help", "porbe").code == 2


def test_who_asks_by_an_option_of_ollamas_hears_what_it_is_called_here() -> None:
    assert "--schema" in run("run", "tiny", "Hi", "--format", "json").err
    assert "serve --keep-alive" in run("run", "tiny", "Hi", "--keepalive", "5m").err
    assert "--schema" not in run("pull", "tiny", "--format", "json").err


def test_a_usage_line_has_no_braces(probe: Callable[[Probe], None]) -> None:
    probe(nothing)
    assert run("probe", "--help").out.startswith("Usage: unillm probe [OPTIONS] [MODEL]\n")
    assert run("export", "--help").out.startswith("Usage: unillm export [OPTIONS] MODEL PATH\n")
    assert run("rm", "--help").out.startswith("Usage: unillm rm [OPTIONS] MODEL...\n")


def test_a_command_gets_its_words_and_the_common_options(probe: Callable[[Probe], None]) -> None:
    probe(nothing)
    assert run("probe", "llama", "--context", "8", "--json") == (0, "llama 8 json=True\n", "")
    assert run("try", "llama") == (0, "llama None json=False\n", "")
    assert all(word in run("probe", "--help").out for word in ("--json", "--quiet", "--debug", "Try the door."))


@pytest.mark.parametrize(
    ("error", "code", "err"),
    [
        (UsageError("two prompts", "give one"), 2, "error: two prompts\nhint: give one\n"),
        (
            OutputFailed("No space left on device"),
            1,
            "error: cannot write to standard output: No space left on device\n",
        ),
        (ReaderLeft(), 141, ""),
        (KeyboardInterrupt(), 130, ""),
        (OSError(28, "No space left on device", "x"), 6, "error: x: No space left on device\nhint: free some"),
        (ZeroDivisionError("division"), 1, "error: unexpected ZeroDivisionError: division\nhint: this is a bug"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_a_sentence_and_a_code(
    probe: Callable[[Probe], None], error: BaseException, code: int, err: str
) -> None:
    probe(raising(error))
    ran = run("probe")
    assert ran.code == code
    assert ran.err.startswith(err)
    assert "Traceback" not in ran.err


def test_debug_shows_where_an_error_came_from(probe: Callable[[Probe], None]) -> None:
    probe(raising(ZeroDivisionError("division")))
    for ran in (run("probe", "--debug"), run("probe", environ={"UNILLM_DEBUG": "1"})):
        assert "Traceback" in ran.err
        assert "in body" in ran.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["porbe"], ["porbe", "Did you mean 'probe'", "unillm --help"]),
        (["probe", "--contxt", "1"], ["--contxt", "unillm probe --help"]),
        (["probe", "--context", "many"], ["--context"]),
        (["probe", "--context", "0"], ["--context"]),
        (["probe", "a", "b"], ["unexpected", "unillm probe --help"]),
        (["--nope"], ["--nope"]),
        (["\x1b[31m"], ["\\x1b[31m"]),
    ],
    ids=lambda value: " ".join(value).encode("unicode_escape").decode(),
)
def test_a_mistyped_command_is_a_usage_error(probe: Callable[[Probe], None], args: list[str], words: list[str]) -> None:
    probe(nothing)
    ran = run(*args)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert all(word in ran.err for word in words)


def test_a_wrong_setting_is_told_before_anything_is_done(probe: Callable[[Probe], None]) -> None:
    probe(lambda session: session.output.line(str(session.settings())))
    ran = run("probe", environ={"UNILLM_CONTEXT": "many"})
    assert ran.code == 2
    assert "UNILLM_CONTEXT" in ran.err


HEAVY = {"torch", "numpy", "transformers", "huggingface_hub", "httpx", "rich.progress", "jinja2"}


def imported_by(*args: str) -> set[str]:
    script = f"import sys; from unillm.unillm_cli.app import main; code = main({list(args)})"
    script += "; print(*sys.modules); sys.exit(code)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(ran.stdout.splitlines()[-1].split())


def test_the_first_help_imports_no_command() -> None:
    imported = imported_by("--help")
    assert not imported & {*HEAVY, "pydantic"}
    assert not [name for name in imported if name.startswith("unillm.unillm_cli.commands.")]


@pytest.mark.parametrize("verb", app.COMMANDS, ids=lambda verb: verb.name)
def test_no_commands_help_waits_for_anything_heavy(verb: app.Verb) -> None:
    assert not imported_by(verb.name, "--help") & HEAVY
