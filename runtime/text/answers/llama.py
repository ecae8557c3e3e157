"""Llama 3.1 and later: an answer that is JSON from its first letter on, or whatever follows `<|python_tag|>`.

Behind the tag there may also be a tool that the model knows from its training, as `brave_search.call(query="...")`.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

from ...results import ToolCall
from .calls import CallStyle, Layout, Malformed, Part, Schemas, call, calls_in, literal

TAG = "<|python_tag|>"
_KNOWN = re.compile(r"\s*(\w+)\.call\((.*)\)\s*", re.DOTALL)


def read(text: str, _tools: Schemas) -> list[ToolCall]:
    text = text.strip().removeprefix(TAG)
    known = _KNOWN.fullmatch(text)
    if known is not None:
        return [call(known[1], _keywords(known[2]))]
    return calls_in(text)


def _keywords(text: str) -> dict[str, Any]:
    """Arguments as Python writes them, all by name."""
    try:
        tree = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(tree, ast.Call) or tree.args:
            raise Malformed
        return {str(one.arg): ast.literal_eval(one.value) for one in tree.keywords if one.arg is not None}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Malformed from None


def one(name: str, schema: Mapping[str, Any]) -> list[Part]:
    return [f'{{"name": "{literal(name)}", "parameters": ', schema, "}"]


LLAMA = CallStyle(
    shown_by=((TAG,), ('{"name": function name, "parameters"',)),
    openings=(TAG,),
    closing=None,
    read=read,
    layout=Layout(one, several=False),
    heads=('{"name":', '{"type":"function"', '{"function":', '{"parameters":'),
)
