"""Which class computes an architecture, a line each; a class is imported when a model asks for it.

Hugging Face's names are entries of config.json's `architectures`, GGUF's are its `general.architecture`.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Final

from .contract import Format, Model
from .errors import UnknownArchitecture

HF: Final[Mapping[str, str]] = {
    "LLaMAForCausalLM": "text.llama:Llama",
    "LlamaForCausalLM": "text.llama:Llama",
    "MistralForCausalLM": "text.mistral:Mistral",
    "Qwen2ForCausalLM": "text.qwen2:Qwen2",
    "Qwen3ForCausalLM": "text.qwen3:Qwen3",
    "YiForCausalLM": "text.llama:Llama",
}

GGUF: Final[Mapping[str, str]] = {
    "llama": "text.mistral:Mistral",  # Mistral's files are `llama` too; without a window key it is Llama
    "qwen2": "text.qwen2:Qwen2",
    "qwen3": "text.qwen3:Qwen3",
}


def find(architecture: str, format: Format) -> type[Model]:  # noqa: A002
    """The class for an architecture of a weight format. Raises `UnknownArchitecture` with near names."""
    names = GGUF if format == "gguf" else HF
    home = names.get(architecture)
    if home is None:
        raise UnknownArchitecture(architecture, get_close_matches(architecture, names, cutoff=0.6))
    module, _, name = home.partition(":")
    model: type[Model] = getattr(import_module(f".{module}", __package__), name)
    return model
