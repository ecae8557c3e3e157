"""What a family's published template writes of a thought and of calls is read back, however the text is cut."""

from functools import partial
from typing import Any

import pytest

from unillm.runtime.text.answers.manner import Manner
from unillm.runtime.text.errors import TemplateFault
from unillm.runtime.text.template import ChatTemplate
from unillm.tests.runtime.text.answers.splitting import in_every_way, in_parts_in_every_way, wants
from unillm.tests.runtime.text.test_real_templates import TOKENS, templates

pytestmark = [pytest.mark.weights, pytest.mark.filterwarnings("ignore")]

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Says what the weather is like",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "Where"},
                "days": {"type": "integer", "description": "How many"},
            },
            "required": ["place"],
        },
    },
}
MADE: list[dict[str, Any]] = [{"place": "Oslo", "days": 3}, {"place": 'Rom "x"', "days": 4}]
USER = {"role": "user", "content": "HELLO"}
SAID, THOUGHT = "It rains.\n\nOr not.", "So < so.\nWell."

# What ends an answer; the model's own token does, and no reader sees it.
ENDS = (
    *("<|im_end|>", "</s>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|END_OF_TURN_TOKEN|>", "<|call|>"),
    *("<｜end▁of▁sentence｜>", "<turn|>", "[e~[", "<seed:eos>", "<|tool_response>", "<end_of_sentence>"),
    *("<|role_end|>", "</assistant>", "<sep>"),
)
# How many calls each writes; t: a thought is written too, s: words beside calls.
FAMILIES = {
    "meta-llama-Llama-3.1-8B-Instruct": "1",
    "meta-llama-Llama-3.2-3B-Instruct": "1",
    "meta-llama-Llama-3.3-70B-Instruct": "1",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "2",
    "Qwen-Qwen2.5-7B-Instruct": "2s",
    "Qwen-Qwen3-0.6B": "2st",
    "Qwen3-Coder": "2s",
    "Qwen3.5-4B": "2st",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "2st",
    "Bielik-11B-v3.0-Instruct": "2st",
    "StepFun3.5-Flash": "2st",
    "ByteDance-Seed-OSS": "2st",
    "MiMo-VL": "2s",
    "Reka-Edge": "2st",
    "mistralai-Mistral-Nemo-Instruct-2407": "2",
    "Mistral-Small-3.2-24B-Instruct-2506": "2",
    "mistralai-Ministral-3-14B-Reasoning-2512": "2s",
    "unsloth-mistral-Devstral-Small-2507": "2s",
    "deepseek-ai-DeepSeek-V3.1": "2s",
    "deepseek-ai-DeepSeek-V3.2": "2s",
    "deepseek-ai-DeepSeek-V4": "2s",
    "google-gemma-4-31B-it": "2t",
    "google-gemma-4-31B-it-interleaved": "2t",
    "ibm-granite-granite-4.0": "2s",
    "ibm-granite-granite-4.1": "2s",
    "openai-gpt-oss-120b": "1t",
    "GLM-4.6": "2st",
    "GLM-4.7-Flash": "2st",
    "MiniMax-M1": "2",
    "MiniMax-M2": "2st",
    "moonshotai-Kimi-K2": "2s",
    "Cohere2MoE": "2t",
    "poolside-Laguna-S-2.1": "2st",
    "inclusionai-ling-3.0-flash": "2st",
    "meetkai-functionary-medium-v3.1": "2s",
}


def written(source: str, answer: dict[str, Any]) -> tuple[str, str]:
    """A prompt, and what follows it where the answer is this one; without the token that ends it."""
    render = partial(ChatTemplate(source, "real").render, tools=[WEATHER], enable_thinking=True, **TOKENS)
    prompt, whole = render([USER]), render([USER, answer], add_generation_prompt=False)
    shared = next((at for at, (one, other) in enumerate(zip(prompt, whole, strict=False)) if one != other), len(prompt))
    text = whole[shared:].rstrip()
    end = next((end for end in ENDS if text.endswith(end)), "")
    return prompt[:shared], text.removesuffix(end)


@pytest.mark.parametrize("name", FAMILIES)
def test_calls_thoughts_and_words_are_read_back(name: str) -> None:
    source, can = templates()[f"{name}.jinja"], FAMILIES[name]
    made = MADE[: int(can[0])]
    calls = [
        {"id": f"abcdefgh{place}", "type": "function", "function": {"name": "weather", "arguments": values}}
        for place, values in enumerate(made)
    ]
    answer: dict[str, Any] = {"role": "assistant", "content": SAID if "s" in can else "", "tool_calls": calls}
    if "t" in can:
        answer |= {"reasoning_content": THOUGHT, "thinking": THOUGHT}
    prompt, text = written(source, answer)
    manner = Manner.shown_by(source)
    read = in_parts_in_every_way(lambda parts: manner.reader(prompt, [WEATHER], in_parts=parts), text)
    assert wants(read.calls) == [("weather", values) for values in made]
    assert read.text == (SAID if "s" in can else "")
    assert read.thought == (THOUGHT if "t" in can else "")


@pytest.mark.parametrize("name", FAMILIES)
def test_words_alone_stay_words(name: str) -> None:
    source = templates()[f"{name}.jinja"]
    words = 'Use <b>, [x] and {"a": 1} as `call(f)`.\n\n'
    reader = Manner.shown_by(source).reader("", [WEATHER])
    assert reader.push(words) + reader.finish()
    read = in_every_way(lambda: Manner.shown_by(source).reader("", [WEATHER]), words)
    assert (read.text, read.calls, read.thought) == (words, (), "")


def test_of_each_published_template_it_is_known_whether_it_takes_tools() -> None:
    takes = {name.removesuffix(".jinja") for name, source in templates().items() if _takes_tools(source)}
    assert takes >= FAMILIES.keys() - {"deepseek-ai-DeepSeek-V3.1"}  # which writes earlier calls, but offers no tools
    assert not takes & {"google-gemma-2-2b-it", "microsoft-Phi-3.5-mini-instruct", "llama-cpp-rwkv-world"}


def _takes_tools(source: str) -> bool:
    try:
        return ChatTemplate(source, "real").takes_tools
    except TemplateFault:
        return False
