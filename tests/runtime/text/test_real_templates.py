"""Chat templates that real models came with, against what `transformers` writes by them."""

from functools import cache
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from unillm.runtime.text.errors import TemplateFault
from unillm.runtime.text.template import ChatTemplate
from unillm.tests.support.packages import llama_cpp_source

pytestmark = [pytest.mark.weights, pytest.mark.filterwarnings("ignore")]

TOKENS: Any = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Says what the weather is like",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "Where"},
                "unit": {"type": "string", "enum": ["C", "F"]},
                "days": {"type": "array", "items": {"type": "integer"}},
            },
            "required": ["place"],
        },
    },
}
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"place": "Oslo"}}}
USER, ANSWER = {"role": "user", "content": "Hello, 2 < 3 & 'so' on"}, {"role": "assistant", "content": " Hi.\n"}
SYSTEM = {"role": "system", "content": "Be brief."}
THOUGHT = {"role": "assistant", "content": "So.", "reasoning_content": "Let me see."}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "abcdefghi", "name": "weather", "content": '{"sky": "grey"}'}

CHATS: dict[str, dict[str, Any]] = {
    "one question": {"messages": [USER]},
    "with a system": {"messages": [SYSTEM, USER, ANSWER, USER]},
    "no prompt behind": {"messages": [USER, ANSWER], "add_generation_prompt": False},
    "without values": {"messages": [USER | {"name": None, "tool_calls": None}, ANSWER, USER]},
    "in parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
    "thinking": {"messages": [USER, THOUGHT, USER], "enable_thinking": True},
    "not thinking": {"messages": [USER, THOUGHT, USER], "enable_thinking": False},
    "with tools": {"messages": [SYSTEM, USER], "tools": [TOOL]},
    "tools used": {"messages": [USER, CALLS, RESULT], "tools": [TOOL]},
    "tools used again": {"messages": [SYSTEM, USER, CALLS, RESULT, ANSWER, USER], "tools": [TOOL]},
    "system only": {"messages": [SYSTEM]},
    "nobody": {"messages": []},
}


@cache
def templates() -> dict[str, str]:
    folder = llama_cpp_source() / "models" / "templates"
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))}


def theirs(source: str, chat: dict[str, Any]) -> str | None:
    """What `transformers` writes, or None where the template refuses."""
    chat = {"add_generation_prompt": True, **chat}
    messages = [{key: value for key, value in message.items() if value is not None} for message in chat.pop("messages")]
    try:
        rendered: Any = render_jinja_template([messages], chat_template=source, **TOKENS, **chat)
    except Exception:
        return None
    return str(rendered[0][0])


def ours(source: str, chat: dict[str, Any]) -> str | None:
    try:
        return ChatTemplate(source, "real").render(chat.pop("messages"), **TOKENS, **chat)
    except TemplateFault:
        return None


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS.keys())
def test_every_template_writes_what_it_writes_elsewhere(chat: dict[str, Any]) -> None:
    written = 0
    for name, source in templates().items():
        expected = theirs(source, dict(chat))
        assert ours(source, dict(chat)) == expected, name
        written += expected is not None
    assert len(templates()) == 70
    assert written >= 40 or chat["messages"] in ([], [SYSTEM])
