"""How large the result of an operation would be, before Python does it.

One function a kind of operation: arithmetic, methods of text, Jinja's filters, the two ways to format. Each charges a
`Meter` with an upper bound, or refuses. Widths and counts that no conversation needs are refused as they are.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jinja2.sandbox import SandboxedEnvironment, SandboxedFormatter

from .meter import LimitReached, Meter

WIDEST: Final = 10_000  # a width, a count of columns, digits to round to
DEEPEST_INDENT: Final = 16
LONGEST_NUMBER: Final = 10_000  # bits
LONGEST_SIFTED: Final = 65_536  # characters of a text that is taken apart letter by letter

_PADDING: Final = frozenset({"center", "ljust", "rjust", "zfill"})
_SPLITTING: Final = frozenset({"split", "rsplit"})
_LINE_ENDS: Final = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_SIFTING: Final = frozenset(
    {
        *("batch", "groupby", "join", "list", "map", "max", "min", "reject", "rejectattr", "select", "selectattr"),
        *("slice", "sort", "striptags", "sum", "title", "unique", "wordcount"),
    }
)
_PER_PIECE: Final = 64
_SPEC: Final = re.compile(r"%(?:\([^)]*\))?[^a-zA-Z%]*[a-zA-Z%]?")
_KEY: Final = re.compile(r"\([^)]*\)")
_DIGITS: Final = re.compile(r"\d+")


def check_number(value: object) -> None:
    """Refuse numbers so long that arithmetic with them takes its time."""
    if isinstance(value, int) and value.bit_length() > LONGEST_NUMBER:
        raise LimitReached(f"a number of more than {LONGEST_NUMBER} bits")


def check_operation(meter: Meter, operator: str, left: Any, right: Any) -> None:
    """Charge for `left operator right`."""
    meter.tick()
    if operator == "%" and isinstance(left, str | bytes):
        check_percent(meter, left, right)
    elif operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
        meter.reserve(_flat(left) + _flat(right))
    elif operator == "*":
        for value, times in ((left, right), (right, left)):
            if isinstance(value, str | bytes | list | tuple) and isinstance(times, int):
                meter.reserve(_flat(value) * max(0, times))
    elif operator == "**":
        _check_power(left, right)


def check_text_method(meter: Meter, text: str, name: str, args: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Charge for `text.name(*args, **named)`."""
    given = [*args, *named.values()]
    if name in _PADDING:
        _check_widths(given)
    elif name == "expandtabs":
        _check_widths(given)
        meter.reserve(meter.weigh(text) + text.count("\t") * max([8, *_whole(given)]) * 4)
    elif name == "replace":
        _check_replace(meter, text, *[value for value in given if isinstance(value, str)][:2])
    elif name == "join" and args:
        _check_join(meter, args[0], text)
    elif name in _SPLITTING:
        separator = args[0] if args and isinstance(args[0], str) and args[0] else None
        pieces = len(text) // 2 if separator is None else text.count(separator)
        meter.reserve(min([pieces, *_limits(given)]) * _PER_PIECE)
    elif name == "splitlines":
        meter.reserve(sum(map(text.count, _LINE_ENDS)) * _PER_PIECE)


def check_filter(meter: Meter, name: str, args: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Charge for `args[0] | name(*args[1:], **named)`."""
    value, options = (args[0] if args else None), [*args[1:], *named.values()]
    if name in _SIFTING and isinstance(value, str) and len(value) > LONGEST_SIFTED:
        raise LimitReached(f"a text of more than {LONGEST_SIFTED} characters taken apart")
    if name in ("center", "batch", "slice", "round"):
        _check_widths(options)
    elif name == "tojson":
        _check_indent(options)
    elif name == "indent":
        _check_indent(options)
        meter.reserve(meter.weigh(value) + str(value).count("\n") * DEEPEST_INDENT * 4)
    elif name == "format":
        check_percent(meter, str(value), named or tuple(options))
    elif name == "replace":
        _check_replace(meter, str(value), *[option for option in options if isinstance(option, str)][:2])
    elif name == "join":
        separator = named.get("d", args[1] if len(args) > 1 else "")
        _check_join(meter, value, str(separator))
    elif name == "sum" and not all(isinstance(option, int | float | str | None) for option in options):
        raise LimitReached("a sum of lists")
    elif name in ("e", "escape", "forceescape", "urlencode", "string"):
        meter.reserve(6 * meter.weigh(value))


def check_percent(meter: Meter, text: str | bytes, values: Any) -> None:
    """Charge for `text % values`."""
    specs = _SPEC.findall(text if isinstance(text, str) else text.decode("latin-1"))
    if any("*" in spec for spec in specs):
        raise LimitReached("a width taken from a value")
    widths = [int(digits[:12]) for spec in specs for digits in _DIGITS.findall(_KEY.sub("", spec))]
    _check_widths(widths)
    meter.reserve(meter.weigh(text) + sum(widths) * 4 + len(specs) * meter.weigh(values) * 2)


class BoundedFormatter(SandboxedFormatter):
    """`str.format`, each width looked at and each piece charged."""

    def __init__(self, sandbox: SandboxedEnvironment, meter: Meter) -> None:
        super().__init__(sandbox)
        self._meter = meter

    def format_field(self, value: Any, format_spec: str) -> str:
        _check_widths([int(digits[:12]) for digits in _DIGITS.findall(format_spec)])
        self._meter.reserve(2 * self._meter.weigh(value))
        piece = str(super().format_field(value, format_spec))
        self._meter.made(piece)
        return piece


def _check_power(base: Any, exponent: Any) -> None:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and base.bit_length() * exponent > LONGEST_NUMBER:
        raise LimitReached(f"a number of more than {LONGEST_NUMBER} bits")


def _check_widths(values: Sequence[Any]) -> None:
    if any(abs(value) > WIDEST for value in _whole(values)):
        raise LimitReached(f"a width of more than {WIDEST}")


def _check_indent(options: Sequence[Any]) -> None:
    texts = [option for option in options if isinstance(option, str)]
    if any(value > DEEPEST_INDENT for value in _whole(options)) or any(len(text) > DEEPEST_INDENT for text in texts):
        raise LimitReached(f"an indent of more than {DEEPEST_INDENT}")


def _check_replace(meter: Meter, text: str, old: str = "", new: str = "") -> None:
    meter.reserve(meter.weigh(text) + text.count(old) * max(0, len(new) - len(old)) * 4)


def _check_join(meter: Meter, items: Any, separator: str) -> None:
    if isinstance(items, list | tuple):
        meter.reserve(meter.weigh(items) + len(items) * len(separator) * 4)


def _whole(values: Sequence[Any]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


def _limits(values: Sequence[Any]) -> list[int]:
    return [value for value in _whole(values) if value >= 0]


def _flat(value: str | bytes | list[Any] | tuple[Any, ...]) -> int:
    """The bytes of `value` itself, what a list holds being there already."""
    return (4 if isinstance(value, str) else 8) * len(value)
