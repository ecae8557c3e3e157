"""GLM 4.5 and later: the function's name behind the mark, then a key and a value in tags of their own.

<tool_call>weather
<arg_key>place</arg_key>
<arg_value>Oslo</arg_value>
</tool_call>
"""

import re
from collections.abc import Mapping
from typing import Any

from ...results import ToolCall
from .calls import CallStyle, Layout, Malformed, Part, Schemas, between, call
from .tagged import parameters, value

_PAIR = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)


def read(text: str, tools: Schemas) -> list[ToolCall]:
    body = between(text, "<tool_call>", "</tool_call>")
    name, mark, rest = body.partition("<arg_key>")
    name, pairs = name.strip(), mark + rest
    if _PAIR.sub("", pairs).strip() or "\n" in name or "<" in name:
        raise Malformed
    schema = tools.get(name, {})
    return [call(name, {key.strip(): value(raw, key.strip(), schema) for key, raw in _PAIR.findall(pairs)})]


def one(name: str, schema: Mapping[str, Any]) -> list[Part]:
    inner = parameters(schema, lambda key: f"<arg_key>{key}</arg_key>\n<arg_value>", "</arg_value>\n")
    return [f"<tool_call>{name}\n", *inner, "</tool_call>"]


ARGUMENT_TAGS = CallStyle(
    shown_by=(("<tool_call>", "<arg_key>"),),
    openings=("<tool_call>",),
    closing="</tool_call>",
    read=read,
    inner=("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    layout=Layout(one, between="\n"),
    begins=r"<tool_call>\s*(?P<name>[^<\n]+)(?=\n|<)",
    writes_json=False,
)
