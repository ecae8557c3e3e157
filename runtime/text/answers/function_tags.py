"""Qwen 3 Coder, Qwen 3.5, Nemotron 3, Step 3.5 and Seed: a tag for the function within the mark, and one a parameter.

<tool_call>
<function=weather>
<parameter=place>
Oslo
</parameter>
</function>
</tool_call>
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...results import ToolCall
from .calls import CallStyle, Layout, Malformed, Part, Schemas, call
from .tagged import parameters, value

_FUNCTION = re.compile(r"<function=([^>\n]+)>(.*?)</function>", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>", re.DOTALL)


def read(text: str, tools: Schemas) -> list[ToolCall]:
    found = [(name.strip(), body) for name, body in _FUNCTION.findall(text)]
    if not found:
        raise Malformed
    return [_read_one(name, body, tools) for name, body in found]


def _read_one(name: str, body: str, tools: Schemas) -> ToolCall:
    if _PARAMETER.sub("", body).strip():
        raise Malformed
    schema = tools.get(name, {})
    return call(name, {key.strip(): value(raw, key.strip(), schema) for key, raw in _PARAMETER.findall(body)})


def one(name: str, schema: Mapping[str, Any]) -> list[Part]:
    inner = parameters(schema, lambda key: f"<parameter={key}>\n", "\n</parameter>\n")
    return [f"<tool_call>\n<function={name}>\n", *inner, "</function>\n</tool_call>"]


FUNCTION_TAGS = CallStyle(
    shown_by=(("<tool_call>", "<function="),),
    openings=("<tool_call>",),
    closing="</tool_call>",
    read=read,
    layout=Layout(one, between="\n"),
    begins=r"<function=(?P<name>[^>\n]+)>",
    writes_json=False,
)


def _seed(name: str, schema: Mapping[str, Any]) -> list[Part]:
    inner = parameters(schema, lambda key: f"<parameter={key}>", "</parameter>\n")
    return [f"<seed:tool_call>\n<function={name}>\n", *inner, "</function>\n</seed:tool_call>"]


SEED = replace(
    FUNCTION_TAGS,
    shown_by=(("<seed:tool_call>",),),
    openings=("<seed:tool_call>",),
    closing="</seed:tool_call>",
    layout=Layout(_seed, between="\n"),
)
