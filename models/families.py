"""What is to be said of each family that runs: what it is called, what it keeps of a sequence, what it is held to, and
what of it is not there. Facts for people; nothing computes with them, and they can be read without torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PAGES: Final = "pages"  # keys and values of every token
WINDOWS: Final = "pages, windows"  # in some layers of the last tokens alone
LATENTS: Final = "latents"  # one vector of every token for all heads
STATES: Final = "states"  # of fixed size, whatever the length
BOTH: Final = "pages, states"

_OURS: Final = "transformers"
_CPP: Final = "transformers, llama.cpp"
_AUTHORS: Final = "its authors' code"
_AUTHORS_CPP: Final = "its authors' code, llama.cpp"


@dataclass(frozen=True, slots=True)
class Family:
    """`cache` is one of the kinds above; `reference` computes the same and was written by others; `lacking` is "" where
    nothing is.
    """

    title: str
    cache: str
    reference: str
    lacking: str = ""


_SEEING: Final = "images, which the same files may see"
_LONGER: Final = "a reference for texts longer than those it was trained on"
_RANKS: Final = "states are computed whole on every rank"

FAMILIES: Final[Mapping[str, Family]] = {
    "Arctic": Family("Arctic", PAGES, _AUTHORS_CPP),
    "Baichuan": Family("Baichuan and Baichuan 2, 7B and 13B", PAGES, _AUTHORS),
    "Bloom": Family("BLOOM", PAGES, _CPP),
    "ChatGLM": Family("ChatGLM 2 and 3, GLM-4-9B-chat", PAGES, _AUTHORS_CPP),
    "CodeGen": Family("CodeGen", PAGES, _OURS),
    "Cohere": Family("Command R and R+", PAGES, _CPP),
    "Cohere2": Family("Command R7B, Command A", WINDOWS, _CPP),
    "Dbrx": Family("DBRX", PAGES, _CPP),
    "DeepSeek": Family("DeepSeek-MoE", PAGES, _AUTHORS_CPP),
    "DeepSeek2": Family("DeepSeek V2 and V2-Lite", LATENTS, _CPP),
    "DeepSeek3": Family("DeepSeek V3 and R1", LATENTS, _CPP, "layers that guess further tokens"),
    "FalconH1": Family("Falcon H1", BOTH, _CPP, _RANKS),
    "FalconMamba": Family("Falcon Mamba", STATES, _CPP, _RANKS),
    "Falcon": Family("Falcon 7B, 40B, 11B, 180B and RW", PAGES, _CPP),
    "GPT2": Family("GPT-2", PAGES, _CPP),
    "GPTJ": Family("GPT-J", PAGES, _OURS),
    "GPTNeo": Family("GPT-Neo", WINDOWS, _OURS),
    "GPTNeoX": Family("GPT-NeoX, Pythia", PAGES, _CPP),
    "Gemma": Family("Gemma, CodeGemma", PAGES, _CPP),
    "Gemma2": Family("Gemma 2", WINDOWS, _CPP),
    "Gemma3": Family("Gemma 3, text", WINDOWS, _CPP, _SEEING),
    "Glm": Family("GLM-4-9B", PAGES, _CPP),
    "Glm4": Family("GLM-4-0414, GLM-Z1", PAGES, _CPP),
    "Glm4MoE": Family("GLM-4.5 and 4.6", PAGES, _CPP, "layers that guess further tokens"),
    "GptOss": Family("gpt-oss", WINDOWS, _CPP),
    "Granite": Family("Granite 3", PAGES, _CPP),
    "GraniteHybrid": Family("Granite 4", BOTH, _CPP, _RANKS),
    "GraniteMoE": Family("Granite MoE, Granite 3 MoE", PAGES, _CPP),
    "Grok": Family("Grok-1", PAGES, "a port of its authors' code, llama.cpp"),
    "InternLM": Family("InternLM", PAGES, _OURS),
    "InternLM2": Family("InternLM 2 and 2.5", PAGES, _AUTHORS_CPP),
    "InternLM3": Family("InternLM 3", PAGES, _OURS),
    "Jamba": Family("Jamba", BOTH, _CPP, _RANKS),
    "LFM2": Family("LFM2", BOTH, _CPP, _RANKS),
    "LFM2MoE": Family("LFM2-MoE", BOTH, _CPP, _RANKS),
    "Llama": Family("Llama 1 to 3.2, CodeLlama, Yi, TinyLlama, SmolLM 1 and 2, Falcon 3, DeepSeek LLM", PAGES, _CPP),
    "Llama4": Family("Llama 4, text", "pages, chunks", _CPP, _SEEING),
    "Mamba": Family("Mamba", STATES, _CPP, _RANKS),
    "Mamba2": Family("Mamba-2, Codestral Mamba", STATES, _CPP, _RANKS),
    "MiniCPM": Family("MiniCPM 1 and 2", PAGES, _CPP),
    "Ministral": Family("Ministral", WINDOWS, _OURS),
    "Ministral3": Family("Ministral 3, Mistral Small from 3.1 on, text", PAGES, _CPP, _SEEING),
    "Mistral": Family("Mistral, Mistral Nemo, Mistral Small 3", WINDOWS, _CPP),
    "Mixtral": Family("Mixtral", PAGES, _CPP),
    "Mpt": Family("MPT", PAGES, _CPP),
    "Nemotron": Family("Nemotron", PAGES, _CPP),
    "OPT": Family("OPT", PAGES, _OURS),
    "Olmo": Family("OLMo", PAGES, _CPP),
    "Olmo2": Family("OLMo 2", PAGES, _CPP),
    "Olmo3": Family("OLMo 3", WINDOWS, _CPP),
    "Olmoe": Family("OLMoE", PAGES, _CPP),
    "Phi": Family("Phi-1, 1.5 and 2", PAGES, _CPP),
    "Phi3": Family("Phi-3, 3.5, 4 and 4-mini, Phi-3 and 3.5 Vision, text", WINDOWS, _CPP, _SEEING),
    "PhiMoE": Family("Phi-3.5-MoE", WINDOWS, _OURS, _LONGER),
    "Qwen": Family("Qwen", PAGES, _AUTHORS_CPP),
    "Qwen2": Family("Qwen 2 and 2.5, QwQ", WINDOWS, _CPP),
    "Qwen2MoE": Family("Qwen2-MoE, Qwen1.5-MoE", WINDOWS, _CPP),
    "Qwen3": Family("Qwen 3", WINDOWS, _CPP),
    "Qwen35": Family("Qwen 3.5, text", BOTH, _CPP, f"{_SEEING}; {_RANKS}"),
    "Qwen35MoE": Family("Qwen 3.5 MoE, text", BOTH, _CPP, f"{_SEEING}; {_RANKS}"),
    "Qwen3MoE": Family("Qwen3-MoE", WINDOWS, _CPP),
    "Qwen3Next": Family("Qwen3-Next", BOTH, _CPP, _RANKS),
    "RecurrentGemma": Family("RecurrentGemma", "windows, states", _OURS, _RANKS),
    "Rwkv": Family("RWKV-4", STATES, f"{_OURS}, {_AUTHORS}", _RANKS),
    "Rwkv6": Family("RWKV-6", STATES, _AUTHORS_CPP, _RANKS),
    "Rwkv7": Family("RWKV-7", STATES, _AUTHORS_CPP, _RANKS),
    "SmolLM3": Family("SmolLM3", PAGES, _CPP, "windows, which no release has"),
    "StableLM": Family("StableLM", PAGES, _CPP),
    "StarCoder": Family("StarCoder", PAGES, _CPP),
    "StarCoder2": Family("StarCoder2", WINDOWS, _OURS),
}
