"""The table of commands as plain data: what the writers of completions and man pages read.

All of it comes from the commands' signatures and docstrings; nothing is said twice.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from typer.models import ArgumentInfo, OptionInfo

from ..app import COMMANDS, Verb, function_of


@dataclass(frozen=True, slots=True)
class Parameter:
    """An option (it has `flags`) or an argument (it has none). Without a metavar it is a switch.

    `many` may be given several times; `required` must be given.
    """

    flags: tuple[str, ...]
    metavar: str | None
    help: str
    choices: tuple[str, ...] = ()
    default: str | None = None
    many: bool = False
    required: bool = False

    @property
    def wants(self) -> str:
        """The kind of its value: MODEL, PATH, TEXT ..."""
        return self.metavar or ""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its line, its paragraphs and its parameters in order."""

    verb: Verb
    paragraphs: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    @property
    def name(self) -> str:
        return self.verb.name

    @property
    def options(self) -> tuple[Parameter, ...]:
        return tuple(one for one in self.parameters if one.flags)

    @property
    def arguments(self) -> tuple[Parameter, ...]:
        return tuple(one for one in self.parameters if not one.flags)


HELP = Parameter(("--help", "-h"), None, "Show the help and exit.")
VERSION = Parameter(("--version",), None, "Print the version.")


def commands() -> list[Command]:
    """Every command that people are shown, in the order of the table."""
    return [_described(verb) for verb in COMMANDS if not verb.hidden]


def _described(verb: Verb) -> Command:
    function = function_of(verb)
    text = inspect.getdoc(function) or ""
    paragraphs = tuple(part.strip("\n") for part in text.split("\n\n"))
    return Command(verb, paragraphs, (*_parameters(inspect.signature(function)), HELP))


def _parameters(signature: inspect.Signature) -> Iterator[Parameter]:
    for one in signature.parameters.values():
        if get_origin(one.annotation) is Annotated:
            kind, info = get_args(one.annotation)[:2]
            yield _parameter(one, _without_none(kind), info)


def _parameter(one: inspect.Parameter, kind: Any, info: OptionInfo | ArgumentInfo) -> Parameter:
    flags = tuple(_declared(info)) if isinstance(info, OptionInfo) else ()
    choices = tuple(map(str, get_args(kind))) if get_origin(kind) is Literal else ()
    metavar = None if kind is bool else info.metavar or ("|".join(choices) if choices else one.name.upper())
    required = one.default is inspect.Parameter.empty
    default = None if required or kind is bool or one.default is None else str(one.default)
    return Parameter(flags, metavar, info.help or "", choices, default, get_origin(kind) is list, required)


def _declared(info: OptionInfo) -> Iterator[str]:
    """The option's flags. Typer keeps the first of them where it keeps defaults when there is no Annotated."""
    for one in (info.default, *(info.param_decls or ())):
        if isinstance(one, str) and one.startswith("-"):
            yield one


def _without_none(kind: Any) -> Any:
    """`int | None` is an int that may be left out."""
    kinds = [one for one in get_args(kind) if one is not NoneType]
    return kinds[0] if len(kinds) == 1 and get_origin(kind) not in (Literal, list) else kind
