"""How a model writes a conversation down: the chat template that came with it.

Templates are other people's programs; `sandbox.py` bounds them. Special tokens' names in what people wrote are quoted
before the template sees them, so that only the template itself can make special tokens.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import Any, Final, Protocol, TypeVar

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from ...registry.files import ModelFiles
from ...registry.formats.gguf import read_gguf
from ...registry.formats.json_file import read_json_object
from .errors import TemplateFault, TemplateLimit
from .sandbox import SOURCE, LimitReached, Meter, Sandbox, written_out

Result = TypeVar("Result")

RESERVED: Final = frozenset({"messages", "tools", "add_generation_prompt", "chat_template", "tokenize"})


class Quoter(Protocol):
    """The side of a tokenizer that a conversation needs."""

    @property
    def special_tokens(self) -> Mapping[str, str]: ...
    def quote(self, text: str) -> str: ...
    def encode_quoted(self, text: str) -> list[int]: ...


class ChatTemplate:
    """One template, compiled. Several threads may use it; renderings take turns."""

    def __init__(self, source: str, model: str) -> None:
        self.source, self.model = source, model
        self._turn = Lock()
        self._sandbox = Sandbox([_Generation])
        self._sandbox.globals |= {"raise_exception": _raise, "strftime_now": _now}
        self._sandbox.add_filter("tojson", _to_json)
        if len(source) > SOURCE:
            raise TemplateLimit(model, f"more than {SOURCE} characters of source")
        self._template = self._guarded(lambda: self._sandbox.from_string(source))

    @classmethod
    def find(cls, files: ModelFiles) -> "ChatTemplate | None":
        """The template that the files hold; the user's own comes first, then the model's, wherever it stands."""
        source = files.template if files.template is not None else _stored(files)
        return None if source is None else cls(source, files.name)

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Any] | None = None, **variables: Any
    ) -> str:
        """The conversation as text, ending where the model's answer begins unless `add_generation_prompt=False`.

        Raises `TemplateFault` where the template fails or refuses, `TemplateLimit` where it asks for too much.
        """
        values = {"add_generation_prompt": True, **variables, "messages": list(messages), "tools": tools}
        with self._turn:
            return self._guarded(lambda: self._run(values))

    def _run(self, values: Mapping[str, Any]) -> str:
        self._sandbox.meter = meter = Meter(written_out([values["messages"], values["tools"]]))
        parts, size = list[str](), 0
        for part in self._template.generate(values):
            size += len(part)
            meter.charge(0)
            if size > meter.output:
                raise LimitReached(f"more than {meter.output} characters of text")
            parts.append(part)
        return "".join(parts)

    def _guarded(self, run: Callable[[], Result]) -> Result:
        """Whatever a template raises is its fault, and says where. The border at which broad excepts are right."""
        try:
            return run()
        except LimitReached as error:
            raise TemplateLimit(self.model, error.what) from None
        except (RecursionError, MemoryError) as error:
            raise TemplateLimit(self.model, f"nested too deeply ({type(error).__name__})") from None
        except TemplateSyntaxError as error:
            raise TemplateFault(self.model, error.message or "syntax error", error.lineno) from None
        except Refusal as error:
            raise TemplateFault(self.model, str(error)) from None
        except TemplateError as error:
            raise TemplateFault(self.model, error.message or type(error).__name__, _line(error)) from None
        except Exception as error:
            raise TemplateFault(self.model, f"{type(error).__name__}: {error}", _line(error)) from None


class Refusal(Exception):
    """The template itself said no to a conversation (`raise_exception`)."""


def chat_ids(
    tokenizer: Quoter,
    template: ChatTemplate,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Any] | None = None,
    **variables: Any,
) -> list[int]:
    """The token ids of a conversation. Special tokens come from the template alone; it alone decides about a BOS."""
    for name in RESERVED - {"add_generation_prompt"} & variables.keys():
        raise TemplateFault(template.model, f"{name!r} is not a variable that a caller may set")
    quoted = _quoted(list(messages), tokenizer.quote)
    text = template.render(quoted, tools=_quoted(tools, tokenizer.quote), **{**tokenizer.special_tokens, **variables})
    return tokenizer.encode_quoted(text)


def _quoted(value: Any, quote: Callable[[str], str]) -> Any:
    """`value` with every text in it quoted, however deep it stands."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, Mapping):
        return {key: _quoted(item, quote) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_quoted(item, quote) for item in value]
    return value


def _stored(files: ModelFiles) -> str | None:
    if "chat_template.jinja" in files.files:
        return files.files["chat_template.jinja"].read_text(encoding="utf-8")
    if files.format == "gguf":
        inside = read_gguf(files.weights[0]).metadata.get("tokenizer.chat_template")
        if isinstance(inside, str):
            return inside
    for name in ("chat_template.json", "tokenizer_config.json"):
        if name in files.files:
            stored = _chosen(read_json_object(files.files[name]).get("chat_template"))
            if stored is not None:
                return stored
    return None


def _chosen(stored: object) -> str | None:
    """A template, or of several named ones the default."""
    if isinstance(stored, list):
        named = {entry.get("name"): entry.get("template") for entry in stored if isinstance(entry, dict)}
        stored = named.get("default")
    return stored if isinstance(stored, str) else None


class _Generation(Extension):
    """`{% generation %}` marks what the model itself said, for training; here it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own spelling

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without HTML's escapes, as `transformers` has it."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise Refusal(message)


def _now(format: str) -> str:  # noqa: A002 - templates may name it
    return datetime.now().strftime(format)


def _line(error: BaseException) -> int | None:
    """The template's line that raised: the innermost frame of the compiled template."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
