"""The command line: its table of commands, and `main`, where an error becomes a sentence and an exit code.

A command is a function of the same name in `commands/`, imported when it is called for, so that help and completion
stay quick. Its first argument is the `Session`; the options that every command has (`--json`, `--quiet`, `--debug`) are
added here.
"""

import contextlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from importlib import import_module
from io import StringIO
from itertools import dropwhile
from keyword import iskeyword
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from .errors import Exit, ReaderLeft, report
from .options import DebugOption, JsonOption, QuietOption
from .session import Session


@dataclass(frozen=True, slots=True)
class Verb:
    """A row of the table: the file and function in `commands/`, what it does in a line, and its other names.

    A hidden one is for programs, and stands in no help.
    """

    name: str
    summary: str
    aliases: tuple[str, ...] = ()
    hidden: bool = False


COMMANDS = (
    Verb("generate", "Answer a prompt."),
    Verb("shell", "Talk with a model."),
    Verb("run", "Talk with a model, or have it answer one prompt."),
    Verb("history", "List, show and remove the shell's conversations."),
    Verb("models", "List the models on this machine.", ("list", "ls")),
    Verb("serve", "Answer over HTTP: OpenAI, Ollama and Anthropic."),
    Verb("ps", "List the models that a running server has loaded."),
    Verb("stop", "Have a running server let models go."),
    Verb("pin", "Have a running server keep models."),
    Verb("unpin", "Let a running server give up pinned models again."),
    Verb("search", "Look for models that could be fetched."),
    Verb("pull", "Fetch models and verify them."),
    Verb("show", "Tell what a model is, where it lies and what runs it."),
    Verb("rm", "Remove models."),
    Verb("cp", "Give a model a second name."),
    Verb("create", "Make a model of your own from a Modelfile."),
    Verb("quantize", "Write a smaller copy of a model, as GGUF."),
    Verb("export", "Write a model into one file."),
    Verb("import", "Add a model from such a file."),
    Verb("lock", "Write down which models these are, to the byte."),
    Verb("sync", "Have exactly the models of a lock file."),
    Verb("prune", "Remove files that no model needs."),
    Verb("verify", "Check every byte of installed models."),
    Verb("config", "Tell which settings are in force."),
    Verb("doctor", "Look at all that unillm needs, and say what to mend."),
    Verb("bench", "Measure how fast a model runs here."),
    Verb("bench-compare", "Measure how fast a model runs here, beside other programs."),
    Verb("bench-serve", "Measure how fast a running server answers many at once."),
    Verb("complete", "List the words that a shell may complete.", hidden=True),
)

_HELP = {"help_option_names": ["--help", "-h"]}


class Command(TyperCommand):
    """A command whose usage line has no braces: what must be given stands there plainly, as everywhere else."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]


class Table(TyperGroup):
    """A group that knows its commands' names and lines; the command itself is loaded when it is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, TyperCommand | None, list[str]]:
        if "-".join(args[:2]) in {verb.name for verb in COMMANDS}:  # `bench compare`
            args = ["-".join(args[:2]), *args[2:]]
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, load(verb_of(name)) if name and stand_in else None, rest


def verb_of(name: str) -> Verb:
    """The row whose name, or other name, is `name`."""
    return next(verb for verb in COMMANDS if name in (verb.name, *verb.aliases))


def function_of(verb: Verb) -> Callable[..., None]:
    """The function of a row as typer shall see it, its module imported. A word of Python's own has a _ behind it."""
    name = f"{verb.name}_" if iskeyword(verb.name) else verb.name.replace("-", "_")
    return _in_session(getattr(import_module(f".commands.{name}", __package__), name))


def load(verb: Verb) -> TyperCommand:
    """The command of a row."""
    single = typer.Typer(rich_markup_mode=None, add_completion=False)
    single.command(verb.name, cls=Command, context_settings=_HELP)(function_of(verb))
    command = get_command(single)
    if not isinstance(command, TyperCommand):
        raise TypeError(f"{verb.name} is not one command")
    return command


def table() -> TyperGroup:
    """The whole command line, no command loaded."""
    app = typer.Typer(cls=Table, rich_markup_mode=None, add_completion=False, context_settings=_HELP)
    app.callback(invoke_without_command=True)(unillm)
    for verb in COMMANDS:
        for name in (verb.name, *verb.aliases):
            app.command(name, help=verb.summary, hidden=verb.hidden or name != verb.name)(_stand_in)
    group = get_command(app)
    if not isinstance(group, TyperGroup):
        raise TypeError("the table of commands is not a group")
    return group


def unillm(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-v", help="Print the version.")] = False,
) -> None:
    """Find an open model by name, fetch it, verify it, run it."""
    session = ctx.find_object(Session)
    if session is not None and version:
        from importlib.metadata import version as version_of  # late: it takes longer than all the rest of this file

        session.output.line(f"unillm {version_of('unillm-cli')}")
        raise typer.Exit
    if session is not None and ctx.invoked_subcommand is None:
        session.output.line(ctx.get_help())


def main(
    args: Sequence[str] | None = None,
    *,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Run one command; what it ends with is returned. Streams and environment are the process's own where not given."""
    session = Session(stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr, environ or os.environ)
    for stream in (session.stdout, session.stderr):
        _never_fail_to_encode(stream)
    code = _run(session, sys.argv[1:] if args is None else args)
    _forget_what_cannot_be_written(session.stdout)
    return code


def _run(session: Session, args: Sequence[str]) -> int:
    """The one door with a broad `except`: nothing else than an exit code leaves it."""
    try:
        return _invoke(session, args)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except ReaderLeft:
        return Exit.READER_LEFT
    except Exception as error:
        return _told(session, error)


def _invoke(session: Session, args: Sequence[str]) -> int:
    """Run the command that `args` name. Typer's help goes out like all else, where its loss is noticed."""
    printed = StringIO()
    code: int = Exit.OK
    try:
        with contextlib.redirect_stdout(printed), table().make_context("unillm", _asked(args), obj=session) as context:
            context.command.invoke(context)
    except typer.Exit as ending:
        code = ending.exit_code
    if text := printed.getvalue():
        session.output.raw(text)
    return code


def _asked(args: Sequence[str]) -> list[str]:
    """The words of a command; `help` and `help COMMAND` ask for what --help tells, as in other programs."""
    return [*dropwhile("help".__eq__, args), "--help"] if args and args[0] == "help" else list(args)


def _told(session: Session, error: Exception) -> int:
    """Tell of `error`, and give the exit code it has."""
    if session.debug or session.environ.get("UNILLM_DEBUG"):
        session.output.note("".join(traceback.format_exception(error)).rstrip())
    told = report(error)
    session.output.fail(told.message, told.hint)
    return told.code


def _in_session(function: Callable[..., None]) -> Callable[..., None]:
    """`function`, asking for its own words and for the options that every command has."""

    @wraps(function)
    def run(ctx: typer.Context, json: bool, quiet: bool, debug: bool, **own: object) -> None:
        session = ctx.find_object(Session)
        if session is None:
            raise TypeError("a command needs a session")
        session.take(json=json, quiet=quiet, debug=debug)
        function(session, **{one.name: _gathered(one, own) for one in wanted})

    common = {"json": JsonOption, "quiet": QuietOption, "debug": DebugOption}
    wanted = list(inspect.signature(function).parameters.values())[1:]
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *(part for one in wanted for part in _spread(one)),
        *(inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=a) for n, a in common.items()),
    ]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _spread(one: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """The options that a parameter is: itself, or those of a group."""
    if not is_dataclass(one.annotation):
        yield one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    for part in fields(one.annotation):
        yield inspect.Parameter(part.name, inspect.Parameter.KEYWORD_ONLY, default=part.default, annotation=part.type)


def _gathered(one: inspect.Parameter, given: Mapping[str, object]) -> object:
    """The value of a parameter, a group's of those of its options."""
    group = one.annotation
    if not isinstance(group, type) or not is_dataclass(group):
        return given[one.name]
    return group(**{part.name: given[part.name] for part in fields(group)})


def _stand_in() -> None:
    """Never runs: `Table` loads the command itself."""


def _never_fail_to_encode(stream: TextIO | None) -> None:
    """A terminal of few letters shows the others as their numbers."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _forget_what_cannot_be_written(stdout: TextIO | None) -> None:
    """Python flushes once more at its end, and would complain of what has been reported already."""
    if stdout is None or stdout is not sys.stdout:
        return
    try:
        stdout.flush()
    except (OSError, ValueError):
        sys.stdout = None
