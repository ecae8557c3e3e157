"""Jinja for templates that nobody vouches for: no reach out of it, and bounds on time, memory and text.

Jinja's own sandbox stops code, not bombs: `'a' * 10**11`, a width of 10**12 in a format, text doubled forty times. Here
every way to make something large is weighed before it is made or charged to a `Meter` afterwards, and loops and calls
look at the clock. The syntax tree is rewritten where Jinja compiles to bare Python that a sandbox does not see (`~`,
slices, literals, loops). Knows nothing of chats.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from types import BuiltinMethodType, CodeType, MethodType
from typing import Any, Final, cast

from jinja2 import Template, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from . import bounded
from .meter import PER_CALL, LimitReached, Meter

MAX_SOURCE: Final = 100_000  # characters of a template; the longest that is known has 17 000
MAX_NODES: Final = 10_000  # parts of a template's syntax; the largest that is known has 1 300
MAX_RANGE: Final = 100_000

_FILTERS: Final = frozenset(
    {
        *("abs", "attr", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape", "first"),
        *("float", "forceescape", "format", "groupby", "indent", "int", "items", "join", "last", "length", "list"),
        *("lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select"),
        *("selectattr", "slice", "sort", "string", "striptags", "sum", "title", "trim", "truncate", "unique", "upper"),
        *("urlencode", "wordcount"),
    }
)
# Names of our functions in the rewritten tree; with a space in them, none can be written in a template.
_JOIN, _SLICE, _NEW, _EACH = " join", " slice", " new", " each"

# What templates may call or read of plain values; all else of them is out of reach.
_METHODS: Final[Mapping[type, frozenset[str]]] = {
    str: frozenset(
        {
            *("capitalize", "casefold", "center", "count", "endswith", "expandtabs", "find", "format", "format_map"),
            *("index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric"),
            *("isprintable", "isspace", "istitle", "isupper", "join", "ljust", "lower", "lstrip", "partition"),
            *("removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip"),
            *("split", "splitlines", "startswith", "strip", "swapcase", "title", "upper", "zfill"),
        }
    ),
    dict: frozenset({"copy", "get", "items", "keys", "values"}),
    list: frozenset({"copy", "count", "index"}),
    tuple: frozenset({"count", "index"}),
    int: frozenset(),
    float: frozenset({"is_integer"}),
    bytes: frozenset(),
    range: frozenset(),
}


class Sandbox(ImmutableSandboxedEnvironment):
    """The surroundings of one run. A template is compiled in one, and run in as many others as one likes."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self, meter: Meter, extensions: Iterable[type[Extension]] = ()) -> None:
        loops: list[type[Extension]] = [LoopControlExtension, *extensions]
        super().__init__(trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=loops)
        self.meter = meter
        plain = {name: self.globals[name] for name in ("joiner", "cycler")}
        self.globals = {**plain, "range": _range, "dict": _Dict(), "namespace": _Namespace}
        self.filters = {name: self._metered(name, run) for name, run in self.filters.items() if name in _FILTERS}
        self.filters["tojson"] = self._metered("tojson", self._to_json)
        self.filters |= {_JOIN: self.joined, _SLICE: self._slice, _NEW: self._new, _EACH: self._each}
        self.tests = {name: self._clocked(cast(Any, run)) for name, run in self.tests.items()}
        self.finalize = self._finalized
        self.concat = self.joined  # type: ignore[method-assign]

    def compiled(self, source: str) -> CodeType:
        """`source` as code that `runnable` takes in any sandbox with the same extensions."""
        if len(source) > MAX_SOURCE:
            raise LimitReached(f"more than {MAX_SOURCE} characters of source")
        return self.compile(source, filename="<template>")

    def runnable(self, code: CodeType, functions: Mapping[str, Callable[..., Any]]) -> Template:
        """The template that `code` was compiled from, to be run here once."""
        return Template.from_code(self, code, {**self.globals, **functions})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = Parser(self, source, name, filename).parse()
        if sum(1 for _ in tree.find_all(nodes.Node)) > MAX_NODES:
            raise LimitReached(f"more than {MAX_NODES} parts of syntax")
        tree = cast(nodes.Template, _Rewrite().visit(tree))
        tree.set_environment(self)
        return tree

    # What templates do

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, allowed in _METHODS.items():
            if isinstance(obj, kind):
                return attr in allowed
        return super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        bounded.check_operation(self.meter, operator, left, right)
        return self._made(super().call_binop(context, operator, left, right))

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.meter.reserve(PER_CALL)
        owner = getattr(obj, "__self__", None) if isinstance(obj, BuiltinMethodType | MethodType) else None
        if not isinstance(owner, str):
            return self._made(super().call(context, obj, *args, **kwargs))
        if obj.__name__ == "join" and len(args) == 1:
            args = (self._listed(args[0]),)
        bounded.check_text_method(self.meter, owner, obj.__name__, args, kwargs)
        return self._made(super().call(context, obj, *args, **kwargs), parts=True)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`format` and `format_map` of a string, every width and every piece looked at; None for anything else."""
        text = getattr(value, "__self__", None)
        name = getattr(value, "__name__", None)
        if not isinstance(text, str) or name not in ("format", "format_map"):
            return None
        formatter = bounded.BoundedFormatter(self, self.meter)
        if name == "format_map":
            return lambda mapping: formatter.vformat(text, (), mapping)
        return lambda *args, **kwargs: formatter.vformat(text, args, kwargs)

    def joined(self, parts: Iterable[Any]) -> str:
        """The text of all parts, one behind the other."""
        texts = [self._text(part) for part in parts]
        self.meter.reserve(sum(map(self.meter.weigh, texts)))
        return "".join(texts)

    @staticmethod
    @pass_context
    def _finalized(context: Any, value: Any) -> str:
        sandbox: Sandbox = context.environment
        return sandbox._text(value)

    def _text(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        self.meter.reserve(2 * self.meter.weigh(value))
        text = str(value)
        self.meter.made(text)
        return text

    def _slice(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        return value if isinstance(value, self.undefined) else self._made(value[start:stop:step])

    def _new(self, value: Any) -> Any:
        return self._made(value)

    def _each(self, values: Any) -> Any:
        return values if isinstance(values, self.undefined) else _Clocked(values, self.meter)

    def _made(self, value: Any, parts: bool = False) -> Any:
        bounded.check_number(value)
        self.meter.made(value, parts)
        return value

    def _to_json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """JSON without HTML's escapes, as `transformers` has it."""
        encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        if indent is None:
            self.meter.reserve(4 * self.meter.weigh(value))
            return encoder.encode(value)
        pieces = list[str]()
        for piece in encoder.iterencode(value):
            self.meter.reserve(len(piece))
            pieces.append(piece)
        return "".join(pieces)

    def _listed(self, values: Any) -> list[Any]:
        """All of `values`, the clock looked at with each."""
        return list(_Clocked(values, self.meter))

    def _metered(self, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(run)
        def metered(*args: Any, **kwargs: Any) -> Any:
            self.meter.reserve(PER_CALL)
            behind = 0 if getattr(run, "jinja_pass_arg", None) is None else 1
            given = list(args)
            if name == "join" and len(given) > behind:
                given[behind] = self._listed(given[behind])
            bounded.check_filter(self.meter, name, given[behind:], kwargs)
            cut_up = len(given) > behind and isinstance(given[behind], str)
            made = self._made(run(*given, **kwargs), parts=cut_up)
            return iter(_Clocked(made, self.meter)) if isinstance(made, Iterator) else made

        return metered

    def _clocked(self, run: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(run)
        def clocked(*args: Any, **kwargs: Any) -> Any:
            self.meter.tick()
            return run(*args, **kwargs)

        return clocked


class _Clocked:
    """Values, the clock looked at with each. It has a length where they have one, as `loop.length` wants."""

    def __init__(self, values: Iterable[Any], meter: Meter) -> None:
        self._values, self._meter = values, meter

    def __iter__(self) -> Iterator[Any]:
        for value in self._values:
            self._meter.tick()
            yield value

    def __len__(self) -> int:
        return len(self._values)  # type: ignore[arg-type]


class _Namespace(Namespace):
    """Jinja's namespace, without names from Python's inside, and written out without what it holds."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"a namespace has no {name!r}")
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"


class _Dict:
    """`dict` as templates know it: a call, and `fromkeys`."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, keys: Iterable[Any], value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


def _range(*edges: int) -> range:
    numbers = range(*edges)
    if len(numbers) > MAX_RANGE:
        raise LimitReached(f"a range of more than {MAX_RANGE} numbers")
    return numbers


class _Rewrite(NodeTransformer):
    """Puts our own functions where Jinja would write bare Python."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - named for Jinja's nodes, as all here
        self.generic_visit(node)
        return _filter(_JOIN, nodes.List(node.nodes, lineno=node.lineno), [])

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        edges: list[nodes.Expr | None] = [node.arg.start, node.arg.stop, node.arg.step]
        return _filter(_SLICE, node.node, [edge or nodes.Const(None, lineno=node.lineno) for edge in edges])

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = _filter(_EACH, cast(nodes.Expr, node.iter), [])
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(_NEW, node, []) if node.items else node

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(_NEW, node, []) if node.ctx == "load" and node.items else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filter(_NEW, node, []) if node.items else node

    def visit_Const(self, node: nodes.Const) -> nodes.Node:  # noqa: N802
        bounded.check_number(node.value)
        return node


def _filter(name: str, value: nodes.Expr, args: list[nodes.Expr]) -> nodes.Filter:
    return nodes.Filter(value, name, args, [], None, None, lineno=value.lineno)
