"""What all dialects do alike with what clients ask: the fields of sampling, spans of time, variables of templates.

What is wrong is refused under the name that the client's own dialect has for it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from ..errors import InvalidParameter
from ..hosting.asking import Fault, HostError
from ..params import SamplingParams
from ..text.template import RESERVED
from .endpoint import Refused, invalid
from .times import read_seconds

Names = Mapping[str, str]  # of ours, what the dialect calls them
_PLACE = re.compile(r"\[\d+\]")
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}  # the schema of whoever asks for JSON without one


@contextmanager
def naming(names: Names) -> Iterator[None]:
    """What is refused within is refused under the dialect's name of the field."""
    try:
        yield
    except InvalidParameter as error:
        name = _theirs(error.field, names)
        raise invalid(name, f"{name} is {error.value!r}; it must be {error.allowed}", error.hint) from None
    except Refused as refused:
        raise Refused(_renamed(refused.fault, names), refused.status) from None
    except HostError as error:
        raise Refused(_renamed(error.fault, names)) from None


def sampling(**wanted: Any) -> SamplingParams:
    """The parameters, those that are None left as they are. Raises `InvalidParameter`."""
    return SamplingParams(**{name: value for name, value in wanted.items() if value is not None})


def seconds(keep_alive: str | float | None) -> float | None:
    """How long the model is to stay. Raises `InvalidParameter`."""
    return None if keep_alive is None else read_seconds(keep_alive)


def variables(given: Mapping[str, Any] | None, field: str = "chat_template_kwargs") -> dict[str, Any]:
    """What a client gives a chat template besides the conversation; it may not take the conversation's place."""
    wanted = dict(given or {})
    for name in sorted(RESERVED & wanted.keys()):
        raise invalid(f"{field}.{name}", f"{field}.{name} is not a variable that a request may set")
    try:
        msgspec.msgpack.encode(wanted)
    except (OverflowError, RecursionError):
        raise invalid(field, f"{field} holds a number of more than 64 bits, or lists too deep") from None
    return wanted


def _theirs(name: str, names: Names) -> str:
    """What the dialect calls a field. One of a list is known by its name with a number left out: `tools[].name`."""
    found = _PLACE.search(name)
    if found is None:
        return names.get(name, name)
    of_any = name.replace(found[0], "[]", 1)
    return names.get(of_any, of_any).replace("[]", found[0], 1)


def _renamed(fault: Fault, names: Names) -> Fault:
    name = "prompt" if fault.kind == "too_long" else fault.field
    if name is None:
        return fault
    theirs, begins = _theirs(name, names), f"{name} is "
    rest = fault.message.removeprefix(begins)
    message = fault.message if rest == fault.message else f"{theirs} is {rest}"
    return msgspec.structs.replace(fault, field=theirs, message=message)
