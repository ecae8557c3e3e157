"""DeepSeek V3.2 and V4, MiniMax M2: a block of invocations, a tag a parameter, which may say that it is text.

<｜DSML｜function_calls>
<｜DSML｜invoke name="weather">
<｜DSML｜parameter name="place" string="true">Oslo</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜function_calls>
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from ...results import ToolCall
from .calls import CallStyle, Layout, Malformed, Part, Schemas, between, call, parsed
from .tagged import parameters, takes_text, value

DSML: Final = "｜DSML｜"
_INVOKE = re.compile(rf'<(?:{DSML})?invoke name="([^"<>]+)">(.*?)</(?:{DSML})?invoke>', re.DOTALL)
_PARAMETER = re.compile(
    rf'<(?:{DSML})?parameter name="([^"<>]+)"(?: string="(true|false)")?>(.*?)</(?:{DSML})?parameter>', re.DOTALL
)


def read(text: str, tools: Schemas, *, opening: str, closing: str) -> list[ToolCall]:
    body = between(text, opening, closing)
    if _INVOKE.sub("", body).strip() or not body.strip():
        raise Malformed
    return [_read_one(name, inner, tools.get(name, {})) for name, inner in _INVOKE.findall(body)]


def _read_one(name: str, body: str, schema: Mapping[str, Any]) -> ToolCall:
    if _PARAMETER.sub("", body).strip():
        raise Malformed
    found = _PARAMETER.findall(body)
    return call(name, {key: _value(key, is_text, raw, schema) for key, is_text, raw in found})


def _value(key: str, is_text: str, raw: str, schema: Mapping[str, Any]) -> Any:
    if is_text == "true":
        return raw
    return parsed(raw) if is_text == "false" else value(raw, key, schema)


def _one(name: str, schema: Mapping[str, Any], *, mark: str) -> list[Part]:
    """Where a mark tells texts from JSON, a parameter must be of one kind."""
    inner = parameters(schema, partial(_before, schema, mark), f"</{mark}parameter>\n")
    return [f'<{mark}invoke name="{name}">\n', *inner, f"</{mark}invoke>\n"]


def _before(schema: Mapping[str, Any], mark: str, key: str) -> str:
    from_schema = (schema.get("properties") or {}).get(key) or {}
    kind = f' string="{str(takes_text(from_schema)).lower()}"' if mark else ""
    return f'<{mark}parameter name="{key}"{kind}>'


def _style(shown_by: tuple[str, ...], opening: str, closing: str, mark: str) -> CallStyle:
    return CallStyle(
        shown_by=(shown_by,),
        openings=(opening,),
        closing=closing,
        read=partial(read, opening=opening, closing=closing),
        layout=Layout(partial(_one, mark=mark), before=f"{opening}\n", after=closing),
        inner=(mark,) if mark else (),
        begins=rf'<{mark}invoke name="(?P<name>[^"<>]+)">',
        writes_json=False,
    )


DSML_V3 = _style((DSML, "function_calls"), f"<{DSML}function_calls>", f"</{DSML}function_calls>", DSML)
DSML_V4 = _style((DSML, "tool_calls"), f"<{DSML}tool_calls>", f"</{DSML}tool_calls>", DSML)
MINIMAX = _style(("<minimax:tool_call>",), "<minimax:tool_call>", "</minimax:tool_call>", "")
