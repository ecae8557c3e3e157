"""How a model writes a conversation down: the chat template that came with it.

Templates are other people's programs; `sandbox.py` bounds them. Names of special tokens in what people wrote are quoted
before a template sees them, so that only the template itself can make special tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from types import CodeType
from typing import Any, Final, TypeVar

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from ...registry.files import ModelFiles
from .answers.manner import Manner
from .conversation import plain, plain_messages
from .errors import TemplateFault, TemplateLimit
from .meter import LimitReached, Meter
from .sandbox import Sandbox
from .template_files import templates_of
from .tokenizer import Tokenizer

Result = TypeVar("Result")

LONGEST_REASON: Final = 1_000  # characters of what a template says when it refuses
LONGEST_DATE: Final = 256  # characters of the form that a template wants a date in
_TOOLS: Final = frozenset({"tools", "available_tools"})  # what templates call the tools that are offered
RESERVED: Final = frozenset({"messages", "tools", "chat_template", "tokenize"})


class ChatTemplate:
    """A model's template, or several by name: "default", and "tool_use" for conversations with tools.

    Several threads may render at once.
    """

    def __init__(self, source: str | Mapping[str, str], model: str) -> None:
        self.model = model
        self.sources = {"default": source} if isinstance(source, str) else dict(source)
        self._codes = {name: self._guarded(_compiled(text)) for name, text in self.sources.items()}

    @classmethod
    def find(cls, files: ModelFiles) -> "ChatTemplate | None":
        """The template that the files hold; the user's own comes first, then the model's, wherever it stands."""
        sources = templates_of(files)
        return cls(sources, files.name) if sources else None

    @cached_property
    def words(self) -> str:
        """What the templates write of their own accord, piece by piece."""
        trees = (self._guarded(_tree(text)) for text in self.sources.values())
        return "\0".join(text for tree in trees for text in _own_words(tree))

    @cached_property
    def manner(self) -> Manner:
        """How answers are written to what this template writes."""
        return Manner.shown_by("\0".join(self.sources.values()))

    @cached_property
    def takes_tools(self) -> bool:
        """Whether a template writes down which tools there are, and it is known how such a model calls them."""
        if self.manner.calls is None:
            return False
        trees = (self._guarded(_tree(text)) for text in self.sources.values())
        return any(_mentions_tools(tree) for tree in trees)

    def render(
        self, messages: Sequence[Mapping[str, Any]], /, *, tools: Sequence[Any] | None = None, **variables: Any
    ) -> str:
        """The conversation as text, ending where the model's answer begins unless `add_generation_prompt=False`.

        Raises `TemplateFault` where the template fails or refuses, `TemplateLimit` where it asks for too much.
        """
        values = {
            "add_generation_prompt": True,
            "documents": None,
            **plain(variables),
            "messages": plain_messages(messages),
            "tools": plain(tools),
        }
        code = self._chosen(with_tools=tools is not None)
        return self._guarded(lambda: _run(code, values))

    def _chosen(self, *, with_tools: bool) -> CodeType:
        name = "tool_use" if with_tools and "tool_use" in self._codes else "default"
        if name not in self._codes:
            named = ", ".join(self._codes)
            raise TemplateFault(self.model, f"none of those that it has is called default: {named}")
        return self._codes[name]

    def _guarded(self, run: Callable[[], Result]) -> Result:
        """Whatever a template raises is its fault, and says where. The border at which a broad except is right."""
        try:
            return run()
        except LimitReached as error:
            raise TemplateLimit(self.model, error.what, _line(error)) from None
        except (RecursionError, MemoryError):  # the second is how Python's own parser says it
            raise TemplateLimit(self.model, "nested too deeply") from None
        except TemplateSyntaxError as error:
            raise TemplateFault(self.model, error.message or "syntax error", error.lineno) from None
        except Refusal as error:
            raise TemplateFault(self.model, str(error)[:LONGEST_REASON]) from None
        except TemplateError as error:
            raise TemplateFault(self.model, error.message or type(error).__name__, _line(error)) from None
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error)[:LONGEST_REASON]}"
            raise TemplateFault(self.model, reason, _line(error)) from None


def chat_ids(
    tokenizer: Tokenizer, template: ChatTemplate, messages: Sequence[Mapping[str, Any]], /, **variables: Any
) -> list[int]:
    """The token ids of a conversation. Special tokens come from the template alone; it alone decides about a BOS."""
    return tokenizer.encode_quoted(chat_text(tokenizer, template, messages, **variables))


def chat_text(
    tokenizer: Tokenizer,
    template: ChatTemplate,
    messages: Sequence[Mapping[str, Any]],
    /,
    *,
    tools: Sequence[Any] | None = None,
    **variables: Any,
) -> str:
    """A conversation written down, for `encode_quoted`: what is to stay text is quoted."""
    for name in RESERVED & variables.keys():
        raise TemplateFault(template.model, f"{name!r} is not a variable that a caller may set")
    said = tokenizer.quoting().quote
    # Tokens that the template writes are its own to write, special or not; only the model may have said them before.
    given = tokenizer.quoting(name for name in tokenizer.added_tokens if name in template.words and name.strip()).quote
    return template.render(
        plain_messages(messages, said, given),
        tools=plain(tools, given),
        **{**tokenizer.special_tokens, **plain(variables, given)},
    )


def _compiled(source: str) -> Callable[[], CodeType]:
    return lambda: Sandbox(Meter(), [_Generation]).compiled(source)


def _tree(source: str) -> Callable[[], nodes.Template]:
    return lambda: Sandbox(Meter(), [_Generation]).parse(source)


def _run(code: CodeType, values: Mapping[str, Any]) -> str:
    meter = Meter(values)
    sandbox = Sandbox(meter, [_Generation])
    parts = list[str]()
    try:
        for part in sandbox.runnable(code, {"raise_exception": _refuse, "strftime_now": _now}).generate(values):
            meter.spend_output(len(part))
            parts.append(part)
    finally:
        meter.forget()
    return "".join(parts)


def _own_words(tree: nodes.Template) -> list[str]:
    constants = [node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)]
    return [*(node.data for node in tree.find_all(nodes.TemplateData)), *constants]


def _mentions_tools(tree: nodes.Template) -> bool:
    names = (node.name for node in tree.find_all(nodes.Name))
    keys = (node.arg.value for node in tree.find_all(nodes.Getitem) if isinstance(node.arg, nodes.Const))
    return not _TOOLS.isdisjoint([*names, *(key for key in keys if isinstance(key, str))])


class Refusal(Exception):
    """The template itself said no to a conversation (`raise_exception`)."""


class _Generation(Extension):
    """`{% generation %}` marks what the model itself said, for training; here it is a scope like any other."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own spelling

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _refuse(message: str) -> None:
    raise Refusal(message)


def _now(format: str) -> str:  # noqa: A002 - templates may name it
    if len(format) > LONGEST_DATE:
        raise LimitReached(f"a form of date of more than {LONGEST_DATE} characters")
    return datetime.now().strftime(format)


def _line(error: BaseException) -> int | None:
    """The template's line that raised: the innermost frame of the compiled template."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
