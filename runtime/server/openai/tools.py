"""Tools as OpenAI's bodies write them: what is offered, what must be called, what was called before."""

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from .types import CalledBefore, NamedTool, OneTool, Tool, ToolFunction

Choice = Literal["none", "auto", "required"] | NamedTool | OneTool | None


class Function(Struct):
    """What is called; `arguments` are JSON of an object."""

    name: str
    arguments: str


class Called(Struct, kw_only=True):
    """A tool that the model wants called."""

    id: str
    type: Literal["function"] = "function"
    function: Function


class FunctionDelta(Struct):
    arguments: str
    name: str | UnsetType = UNSET


class CallDelta(Struct, kw_only=True):
    """The same in a stream, whole or what is new of it: `index` is its place among the calls of the answer. Only the
    first of a call has its `id` and name.
    """

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta


def offered(tools: Sequence[Tool] | None) -> list[dict[str, Any]]:
    """As models are offered them."""
    return [as_function(one.function) for one in tools or ()]


def as_function(function: ToolFunction) -> dict[str, Any]:
    told = {"name": function.name, "description": function.description or "", "parameters": function.parameters}
    return {"type": "function", "function": {key: value for key, value in told.items() if value is not None}}


def choice(given: Choice) -> str:
    """Whether a tool must be called: none, auto, required, or the name of one."""
    match given:
        case None:
            return "auto"
        case NamedTool():
            return given.function.name
        case OneTool():
            return given.name
    return given


def in_history(calls: Sequence[CalledBefore] | None) -> list[dict[str, Any]]:
    """What the model called earlier."""
    return [
        {"id": one.id, "function": {"name": one.function.name, "arguments": one.function.arguments}}
        for one in calls or ()
    ]
