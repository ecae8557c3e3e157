"""Jinja for templates that nobody vouches for: no reach out of it, and bounds on time, memory and text.

Jinja's own sandbox stops code, not bombs: `'a' * 10**11`, a width of 10**12 in a format, text doubled forty times. Here
every way to make something large is either weighed before it is made or charged to a `Meter` afterwards, and loops and
calls look at the clock. The syntax tree is rewritten where Jinja compiles to bare Python that a sandbox does not see
(`~`, slices, literals, loops). Knows nothing of chats.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from string import Formatter
from time import monotonic
from typing import Any, Final, cast

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.visitor import NodeTransformer

SECONDS: Final = 2.0
MEMORY: Final = 64 << 20
OUTPUT: Final = 1 << 20
SOURCE: Final = 1 << 20  # characters of a template

_WIDEST: Final = 100_000  # a width or a count
_DEEPEST_INDENT: Final = 64
_LONGEST_INTEGER: Final = 10_000  # bits
_PER_CALL: Final = 256
_PER_NODE: Final = 16
_PER_ITEM: Final = 8

# fmt: off
_FILTERS: Final = frozenset({
    "abs", "attr", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape", "first",
    "float", "format", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max",
    "min", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "slice", "sort",
    "string", "striptags", "sum", "title", "tojson", "trim", "unique", "upper", "wordcount",
})
# fmt: on
_WRITING: Final = frozenset({"dictsort", "join", "max", "min", "sort", "string", "sum", "tojson", "unique"})
_METHODS: Final[Mapping[type, frozenset[str]]] = {
    int: frozenset({"bit_length", "conjugate", "is_integer"}),
    bytes: frozenset({"decode"}),
}
_PERCENT: Final = re.compile(r"%(?:\([^)]*\))?[^a-zA-Z%]*")
_KEY: Final = re.compile(r"\([^)]*\)")
_NUMBER: Final = re.compile(r"\d+")


class LimitReached(Exception):
    """A template asked for more than any conversation needs. `what` says of what."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class Meter:
    """What one rendering may still use. `given` is the size of its input: a long conversation may need more."""

    def __init__(self, given: int) -> None:
        self._deadline = monotonic() + SECONDS
        self._memory = MEMORY + 64 * given
        self.largest = self._memory
        self.output = OUTPUT + 4 * given

    def charge(self, amount: int) -> None:
        self._memory -= amount
        if self._memory < 0:
            raise LimitReached(f"more than {MEMORY >> 20} MB of memory")
        if monotonic() > self._deadline:
            raise LimitReached(f"more than {SECONDS:g} s")

    def allow(self, size: int) -> None:
        """Charge for something that is about to be made."""
        if size > self.output:
            raise LimitReached(f"a value of more than {self.output} characters")
        self.charge(size)


class Sandbox(ImmutableSandboxedEnvironment):
    """Compiles and runs templates as `transformers` does, within the bounds of `meter`, which the caller renews."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, extensions: Iterable[type[Extension]] = ()) -> None:
        loops: list[type[Extension]] = [LoopControlExtension, *extensions]
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=loops)
        self.meter = Meter(0)
        self.globals = {name: self.globals[name] for name in ("range", "dict", "namespace", "joiner", "cycler")}
        self.filters = {name: self._metered_filter(name, f) for name, f in self.filters.items() if name in _FILTERS}
        self.filters |= {"_concat": self.joined, "_slice": self._slice, "_weigh": self._weigh, "_loop": self._loop}
        self.finalize = self._finalized
        self.concat = self.joined  # type: ignore[method-assign]

    def add_filter(self, name: str, run: Callable[..., Any]) -> None:
        self.filters[name] = self._metered_filter(name, run)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Rewrite().visit(Parser(self, source, name, filename).parse())
        tree.set_environment(self)
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic, weighed first."""
        if operator == "%" and isinstance(left, str):
            self.meter.allow(_percent_width(left))
        elif operator == "**":
            _check_power(left, right)
        elif operator == "*":
            self._check_product(left, right)
        elif operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            self.meter.allow(len(left) + len(right))
        return self._charged(super().call_binop(context, operator, left, right))

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        self.meter.charge(_PER_CALL)
        if getattr(obj, "__name__", "") == "join" and args:
            args = (list(args[0]), *args[1:])
        self._check_method(obj, args, kwargs)
        return self._charged(super().call(context, obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`format` of a string, its widths looked at; None for anything else."""
        if getattr(value, "__name__", None) not in ("format", "format_map"):
            return None
        text = getattr(value, "__self__", None)
        if not isinstance(text, str):
            return None
        formatter = _BoundedFormatter(self)
        if value.__name__ == "format_map":
            return lambda mapping: Formatter.vformat(formatter, text, (), mapping)
        return lambda *args, **kwargs: Formatter.vformat(formatter, text, args, kwargs)

    def joined(self, parts: Iterable[Any]) -> str:
        """The text of all parts, one behind the other."""
        texts = [self._finalized(part) for part in parts]
        self.meter.allow(sum(map(len, texts)))
        return "".join(texts)

    def _finalized(self, value: Any) -> str:
        if isinstance(value, str):
            return str(value)
        self._weigh(value)
        return str(value)

    def _slice(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        if isinstance(value, self.undefined):
            return value
        return self._charged(value[start:stop:step])

    def _loop(self, values: Iterable[Any], cost: int) -> "_Metered":
        return _Metered(values, self.meter, cost)

    def _weigh(self, value: Any) -> Any:
        """`value`, if written out in full it is of bearable size: lists may hold the same list again and again."""
        if isinstance(value, list | tuple | dict):
            try:
                weight = written_out(value)
            except RecursionError:
                raise LimitReached("values nested too deeply") from None
            if weight > self.meter.largest:
                raise LimitReached(f"a value of more than {MEMORY >> 20} MB")
            self.meter.charge(_PER_ITEM * len(value))
        return value

    def _charged(self, value: Any) -> Any:
        if isinstance(value, str | bytes):
            self.meter.allow(len(value))
        elif isinstance(value, int) and value.bit_length() > _LONGEST_INTEGER:
            raise LimitReached("a number of too many digits")
        return self._weigh(value)

    def _metered_filter(self, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def metered(*args: Any, **kwargs: Any) -> Any:
            self.meter.charge(_PER_CALL)
            if name == "join":
                return self._join(run, *args, **kwargs)
            self._check_filter(name, [*args, *kwargs.values()])
            return self._charged(run(*args, **kwargs))

        for mark in ("jinja_pass_arg", "jinja_async_variant"):
            if hasattr(run, mark):
                setattr(metered, mark, getattr(run, mark))
        return metered

    def _check_filter(self, name: str, values: list[Any]) -> None:
        numbers = [value for value in values if isinstance(value, int)]
        texts = [value for value in values if isinstance(value, str)]
        if name in _WRITING:
            for value in values:
                self._weigh(value)
        if name in ("center", "batch", "slice", "round"):
            _check_counts(numbers)
        elif name in ("indent", "tojson"):
            if max(numbers, default=0) > _DEEPEST_INDENT or sum(map(len, texts[1:])) > _DEEPEST_INDENT:
                raise LimitReached(f"an indent of more than {_DEEPEST_INDENT}")
        elif name == "format" and texts:
            self.meter.allow(_percent_width(texts[0]))
        elif name == "replace":
            self._check_replace(*texts)

    def _join(self, run: Callable[..., Any], first: Any, values: Any, *args: Any, **kwargs: Any) -> Any:
        items = list(values)
        separator = kwargs.get("d", args[0] if args else "")
        self._weigh(items)
        self.meter.allow(_joined_length(items, str(separator)))
        return self._charged(run(first, items, *args, **kwargs))

    def _check_product(self, left: Any, right: Any) -> None:
        for value, times in ((left, right), (right, left)):
            if isinstance(value, str | bytes | list | tuple) and isinstance(times, int):
                self.meter.allow(len(value) * max(0, times))

    def _check_replace(self, text: str = "", old: str = "", new: str = "") -> None:
        self.meter.allow(len(text) + text.count(old) * max(0, len(new) - len(old)))

    def _check_method(self, obj: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        for kind, allowed in _METHODS.items():
            if isinstance(owner, kind) and name not in allowed:
                raise SecurityError(f"{kind.__name__}.{name} is not for templates")
        if not isinstance(owner, str):
            return
        numbers = [value for value in (*args, *kwargs.values()) if isinstance(value, int)]
        if name in ("center", "ljust", "rjust", "zfill"):
            _check_counts(numbers)
        elif name == "expandtabs":
            self.meter.allow(len(owner) + owner.count("\t") * max(numbers, default=8))
        elif name == "replace":
            self._check_replace(owner, *(value for value in args if isinstance(value, str)))
        elif name == "join" and args:
            self.meter.allow(_joined_length(args[0], owner))
        elif name == "translate":
            raise SecurityError("str.translate is not for templates")


class _Metered:
    """A loop's values, each charged. It has a length where they have one, as `loop.length` and `loop.last` want."""

    def __init__(self, values: Iterable[Any], meter: Meter, cost: int) -> None:
        self._values, self._meter, self._cost = values, meter, cost

    def __iter__(self) -> Iterator[Any]:
        for value in self._values:
            self._meter.charge(self._cost)
            yield value

    def __len__(self) -> int:
        return len(self._values)  # type: ignore[arg-type]


class _BoundedFormatter(SandboxedFormatter):
    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox)
        self._meter = sandbox.meter

    def format_field(self, value: Any, format_spec: str) -> str:
        self._meter.allow(sum(_numbers_in(format_spec)))
        return str(super().format_field(value, format_spec))


class _Rewrite(NodeTransformer):
    """Puts our own functions where Jinja would write bare Python."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter("_concat", nodes.List(node.nodes, lineno=node.lineno), [])

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        edges = (node.arg.start, node.arg.stop, node.arg.step)
        return _filter("_slice", node.node, [edge or nodes.Const(None, lineno=node.lineno) for edge in edges])

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        cost = _PER_NODE * sum(1 for _ in node.find_all(nodes.Node))
        self.generic_visit(node)
        node.iter = _filter("_loop", cast(nodes.Expr, node.iter), [nodes.Const(cost, lineno=node.lineno)])
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter("_weigh", node, []) if node.items else node

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter("_weigh", node, []) if node.ctx == "load" and node.items else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter("_weigh", node, []) if node.items else node


def _filter(name: str, value: nodes.Expr, args: list[nodes.Expr]) -> nodes.Filter:
    return nodes.Filter(value, name, args, [], None, None, lineno=value.lineno)


def written_out(value: Any) -> int:
    """How much `value` would be if written out, where what it holds twice counts twice.

    Each object is met once, so that this is quick even for a value too large to write. Raises RecursionError.
    """
    return _size(value, {})


def _size(value: Any, seen: dict[int, int]) -> int:
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, list | tuple | dict):
        return 8
    if id(value) not in seen:
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        seen[id(value)] = 8 + sum(_size(item, seen) for item in inner)
    return seen[id(value)]


def _check_counts(values: Iterable[Any]) -> None:
    if any(isinstance(value, int) and value > _WIDEST for value in values):
        raise LimitReached(f"a width of more than {_WIDEST}")


def _numbers_in(spec: str) -> Iterator[int]:
    return (int(digits[:12]) for digits in _NUMBER.findall(spec))


def _percent_width(text: str) -> int:
    """The sum of all widths in a %-format."""
    specs = _PERCENT.findall(text)
    if any("*" in spec for spec in specs):
        raise LimitReached("a width taken from a value")
    return sum(sum(_numbers_in(_KEY.sub("", spec))) for spec in specs)


def _joined_length(items: list[Any], separator: str) -> int:
    return sum(len(item) for item in items if isinstance(item, str)) + len(items) * len(separator)


def _check_power(left: Any, right: Any) -> None:
    whole = isinstance(left, int) and isinstance(right, int)
    if whole and right > 0 and left.bit_length() * right > _LONGEST_INTEGER:
        raise LimitReached("a number of too many digits")
