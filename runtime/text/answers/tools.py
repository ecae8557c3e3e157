"""What a model is offered to call, and whether it must."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...errors import InvalidParameter

NONE, AUTO, REQUIRED = "none", "auto", "required"
MOST: Final = 1024  # tools of one request
LONGEST_NAME: Final = 256


@dataclass(frozen=True, slots=True)
class Tools:
    """`every` is written as OpenAI writes tools: a type, and a function with a name, a description and the schema of
    its parameters. `choice` is none, auto, required, or the name of the one that must be called.

    Without `parallel` an answer calls at most one. `in_parts`: calls are told as they are written, where they can be.
    """

    every: Sequence[Mapping[str, Any]] = ()
    choice: str = AUTO
    parallel: bool = True
    in_parts: bool = False

    @property
    def offered(self) -> Sequence[Mapping[str, Any]]:
        """Those that the model hears of."""
        return () if self.choice == NONE else self.every

    @property
    def must(self) -> bool:
        """Whether the answer has to be a call."""
        return self.choice not in (NONE, AUTO)

    @property
    def allowed(self) -> dict[str, Mapping[str, Any]]:
        """The schema of the parameters of each tool that may be called, by its name."""
        found: dict[str, Mapping[str, Any]] = {
            name(tool): function(tool).get("parameters") or {} for tool in self.offered
        }
        return found if self.choice in (AUTO, REQUIRED) else {self.choice: found[self.choice]}

    def check(self) -> None:
        """Raise `InvalidParameter` for what no template could write down."""
        if len(self.every) > MOST:
            raise InvalidParameter("tools", f"{len(self.every)} tools", f"at most {MOST}")
        for place, tool in enumerate(self.every):
            if not _is_tool(tool):
                raise InvalidParameter("tools", tool, "tools with a function, which has a name and parameters")
            if (wrong := _wrong(function(tool).get("parameters") or {})) is not None:
                raise InvalidParameter(f"tools[{place}].function.parameters", wrong[0], wrong[1])
            if name(tool) in (NONE, AUTO, REQUIRED):
                raise InvalidParameter(
                    "tools", name(tool), f"tools with other names: of {name(tool)} tool_choice knows"
                )
        names = [name(tool) for tool in self.every]
        if self.must and self.choice != REQUIRED and self.choice not in names:
            raise InvalidParameter("tool_choice", self.choice, "none, auto, required, or the name of one of the tools")
        if self.must and not names:
            raise InvalidParameter("tool_choice", self.choice, "none or auto where there are no tools")


def function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a tool says of its function; some leave out what is around it."""
    inner = tool.get("function", tool)
    return inner if isinstance(inner, Mapping) else {}


def name(tool: Mapping[str, Any]) -> str:
    return str(function(tool).get("name", ""))


def _wrong(schema: Mapping[str, Any]) -> tuple[object, str] | None:
    """What is plainly wrong with the schema of an object, and what should be there."""
    kind, properties, required = (schema.get(key) for key in ("type", "properties", "required"))
    if kind not in (None, "object"):
        return kind, "the schema of an object: its type is not that"
    if not isinstance(properties, Mapping | None):
        return properties, "a JSON schema: its properties are no object"
    if properties and not all(isinstance(one, Mapping | bool) for one in properties.values()):
        return [*properties], "a JSON schema: a property of it is no schema"
    if required is not None and not (isinstance(required, list) and all(isinstance(one, str) for one in required)):
        return required, "a JSON schema: required is no list of names"
    return None


def _is_tool(tool: object) -> bool:
    if not isinstance(tool, Mapping):
        return False
    known, parameters = function(tool).get("name"), function(tool).get("parameters")
    is_named = isinstance(known, str) and 0 < len(known) <= LONGEST_NAME and known.isprintable()
    return is_named and isinstance(parameters, Mapping | None)
