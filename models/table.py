"""Which class computes an architecture, a line each; a class is imported when a model asks for it.

Hugging Face's names are entries of config.json's `architectures`, GGUF's are its `general.architecture`. The table can
be read without torch, so that a search may say what would run here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Final

from .errors import UnknownArchitecture

if TYPE_CHECKING:
    from .contract import Format, Model

HF: Final[Mapping[str, str]] = {
    "FalconMambaForCausalLM": "text.mamba:FalconMamba",
    "Gemma2ForCausalLM": "text.gemma:Gemma2",
    "Gemma3ForCausalLM": "text.gemma:Gemma3",
    "GemmaForCausalLM": "text.gemma:Gemma",
    "GraniteForCausalLM": "text.granite:Granite",
    "GptOssForCausalLM": "text.gpt_oss:GptOss",
    "OlmoeForCausalLM": "text.olmoe:Olmoe",
    "LLaMAForCausalLM": "text.llama:Llama",
    "LlamaForCausalLM": "text.llama:Llama",
    "MambaForCausalLM": "text.mamba:Mamba",
    "MiniCPMForCausalLM": "text.granite:MiniCPM",
    "MistralForCausalLM": "text.mistral:Mistral",
    "MixtralForCausalLM": "text.mixtral:Mixtral",
    "Olmo2ForCausalLM": "text.olmo:Olmo2",
    "Olmo3ForCausalLM": "text.olmo:Olmo3",
    "OlmoForCausalLM": "text.olmo:Olmo",
    "Phi3ForCausalLM": "text.phi3:Phi3",
    "Qwen2ForCausalLM": "text.qwen2:Qwen2",
    "Qwen2MoeForCausalLM": "text.qwen_moe:Qwen2MoE",
    "Qwen3ForCausalLM": "text.qwen3:Qwen3",
    "Qwen3MoeForCausalLM": "text.qwen_moe:Qwen3MoE",
    "YiForCausalLM": "text.llama:Llama",
}

GGUF: Final[Mapping[str, str]] = {
    "gemma": "text.gemma:Gemma",
    "gemma2": "text.gemma:Gemma2",
    "gemma3": "text.gemma:Gemma3",
    "granite": "text.granite:Granite",
    "llama": "text.mixtral:Mixtral",  # Mistral's files are `llama` too; without experts and a window it is Llama
    "gpt-oss": "text.gpt_oss:GptOss",
    "olmoe": "text.olmoe:Olmoe",
    "mamba": "text.mamba:Mamba",
    "minicpm": "text.granite:MiniCPM",
    "olmo": "text.olmo:Olmo",
    "olmo2": "text.olmo:Olmo2",
    "phi3": "text.phi3:Phi3",
    "qwen2": "text.qwen2:Qwen2",
    "qwen2moe": "text.qwen_moe:Qwen2MoE",
    "qwen3": "text.qwen3:Qwen3",
    "qwen3moe": "text.qwen_moe:Qwen3MoE",
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """A row of the table: the `name` in files of these `formats`, and the `family` that computes it."""

    name: str
    family: str
    formats: "tuple[Format, ...]"


def architectures() -> list[Architecture]:
    """Every row, by name."""
    rows = [Architecture(name, _family(home), ("safetensors", "pytorch")) for name, home in HF.items()]
    rows += [Architecture(name, _family(home), ("gguf",)) for name, home in GGUF.items()]
    return sorted(rows, key=lambda row: row.name.lower())


def is_known(architecture: str, format: "Format") -> bool:  # noqa: A002
    """Whether some class computes an architecture of a weight format."""
    return architecture in (GGUF if format == "gguf" else HF)


def _family(home: str) -> str:
    return home.partition(":")[2]


def find(architecture: str, format: "Format") -> "type[Model]":  # noqa: A002
    """The class for an architecture of a weight format. Raises `UnknownArchitecture` with near names."""
    names = GGUF if format == "gguf" else HF
    home = names.get(architecture)
    if home is None:
        raise UnknownArchitecture(architecture, get_close_matches(architecture, names, cutoff=0.6))
    module, _, name = home.partition(":")
    model: type[Model] = getattr(import_module(f".{module}", __package__), name)
    return model
