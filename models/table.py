"""Which class computes an architecture, a line each; a class is imported when a model asks for it.

Hugging Face's names are entries of config.json's `architectures`, GGUF's are its `general.architecture`. The table can
be read without torch, so that a search may say what would run here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from .borrowed.names import EXTRA, NAMES, is_lent
from .errors import UnknownArchitecture
from .families import FAMILIES, Family

if TYPE_CHECKING:
    from .contract import Format, Loadable

HF: Final[Mapping[str, str]] = {
    "ArcticForCausalLM": "text.arctic:Arctic",
    "BaichuanForCausalLM": "text.baichuan:Baichuan",
    "BaiChuanForCausalLM": "text.baichuan:Baichuan",
    "BloomForCausalLM": "text.alibi:Bloom",
    "ChatGLMForConditionalGeneration": "text.glm:ChatGLM",
    "ChatGLMModel": "text.glm:ChatGLM",
    "CodeGenForCausalLM": "text.gpt:CodeGen",
    "Cohere2ForCausalLM": "text.cohere:Cohere2",
    "CohereForCausalLM": "text.cohere:Cohere",
    "DbrxForCausalLM": "text.dbrx:Dbrx",
    "DeepseekForCausalLM": "text.deepseek:DeepSeek",
    "DeepseekV2ForCausalLM": "text.deepseek:DeepSeek2",
    "DeepseekV3ForCausalLM": "text.deepseek:DeepSeek3",
    "FalconForCausalLM": "text.falcon:Falcon",
    "FalconH1ForCausalLM": "text.falcon_h1:FalconH1",
    "FalconMambaForCausalLM": "text.mamba:FalconMamba",
    "Gemma2ForCausalLM": "text.gemma:Gemma2",
    "Gemma3ForCausalLM": "text.gemma:Gemma3",
    "Gemma3ForConditionalGeneration": "text.gemma:Gemma3",
    "GemmaForCausalLM": "text.gemma:Gemma",
    "Glm4ForCausalLM": "text.glm:Glm4",
    "Glm4MoeForCausalLM": "text.glm4_moe:Glm4MoE",
    "GlmForCausalLM": "text.glm:Glm",
    "GPT2LMHeadModel": "text.gpt:GPT2",
    "GPTBigCodeForCausalLM": "text.gpt:StarCoder",
    "GPTJForCausalLM": "text.gpt:GPTJ",
    "GPTNeoForCausalLM": "text.gpt:GPTNeo",
    "GPTNeoXForCausalLM": "text.neox:GPTNeoX",
    "GptOssForCausalLM": "text.gpt_oss:GptOss",
    "GraniteForCausalLM": "text.granite:Granite",
    "GraniteMoeForCausalLM": "text.granite_moe:GraniteMoE",
    "GraniteMoeHybridForCausalLM": "text.granite_hybrid:GraniteHybrid",
    "GraniteMoeSharedForCausalLM": "text.granite_moe:GraniteMoE",
    "GrokForCausalLM": "text.grok:Grok",
    "InternLM2ForCausalLM": "text.internlm:InternLM2",
    "InternLM3ForCausalLM": "text.internlm:InternLM3",
    "InternLMForCausalLM": "text.internlm:InternLM",
    "JambaForCausalLM": "text.jamba:Jamba",
    "Lfm2ForCausalLM": "text.lfm2:LFM2",
    "Lfm2MoeForCausalLM": "text.lfm2:LFM2MoE",
    "LFM2ForCausalLM": "text.lfm2:LFM2",
    "Llama4ForCausalLM": "text.llama4:Llama4",
    "Llama4ForConditionalGeneration": "text.llama4:Llama4",
    "LLaMAForCausalLM": "text.llama:Llama",
    "LlamaForCausalLM": "text.llama:Llama",
    "Mamba2ForCausalLM": "text.mamba2:Mamba2",
    "MambaForCausalLM": "text.mamba:Mamba",
    "MiniCPMForCausalLM": "text.granite:MiniCPM",
    "Ministral3ForCausalLM": "text.ministral:Ministral3",
    "MinistralForCausalLM": "text.ministral:Ministral",
    "Mistral3ForConditionalGeneration": "text.ministral:Ministral3",
    "MistralForCausalLM": "text.mistral:Mistral",
    "MixtralForCausalLM": "text.mixtral:Mixtral",
    "MptForCausalLM": "text.alibi:Mpt",
    "MPTForCausalLM": "text.alibi:Mpt",
    "NemotronForCausalLM": "text.nemotron:Nemotron",
    "Olmo2ForCausalLM": "text.olmo:Olmo2",
    "Olmo3ForCausalLM": "text.olmo:Olmo3",
    "OlmoeForCausalLM": "text.olmoe:Olmoe",
    "OlmoForCausalLM": "text.olmo:Olmo",
    "OPTForCausalLM": "text.gpt:OPT",
    "Phi3ForCausalLM": "text.phi3:Phi3",
    "Phi3VForCausalLM": "text.phi3:Phi3",
    "PhiForCausalLM": "text.neox:Phi",
    "PhiMoEForCausalLM": "text.phimoe:PhiMoE",
    "PhimoeForCausalLM": "text.phimoe:PhiMoE",
    "Qwen2ForCausalLM": "text.qwen2:Qwen2",
    "Qwen2MoeForCausalLM": "text.qwen_moe:Qwen2MoE",
    "Qwen3ForCausalLM": "text.qwen3:Qwen3",
    "Qwen3MoeForCausalLM": "text.qwen_moe:Qwen3MoE",
    "Qwen3NextForCausalLM": "text.qwen3_next:Qwen3Next",
    "Qwen3_5ForCausalLM": "text.qwen3_next:Qwen35",
    "Qwen3_5ForConditionalGeneration": "text.qwen3_next:Qwen35",
    "Qwen3_5MoeForCausalLM": "text.qwen3_next:Qwen35MoE",
    "Qwen3_5MoeForConditionalGeneration": "text.qwen3_next:Qwen35MoE",
    "QWenLMHeadModel": "text.qwen1:Qwen",
    "RecurrentGemmaForCausalLM": "text.recurrent_gemma:RecurrentGemma",
    "Rwkv6ForCausalLM": "text.rwkv6:Rwkv6",
    "Rwkv7ForCausalLM": "text.rwkv7:Rwkv7",
    "RWKV7ForCausalLM": "text.rwkv7:Rwkv7",
    "RwkvForCausalLM": "text.rwkv:Rwkv",
    "RWForCausalLM": "text.falcon:Falcon",
    "SmolLM3ForCausalLM": "text.smollm3:SmolLM3",
    "StableLMEpochForCausalLM": "text.stablelm:StableLM",
    "StableLmForCausalLM": "text.stablelm:StableLM",
    "Starcoder2ForCausalLM": "text.starcoder2:StarCoder2",
    "YiForCausalLM": "text.llama:Llama",
}

GGUF: Final[Mapping[str, str]] = {
    "arctic": "text.arctic:Arctic",
    "baichuan": "text.baichuan:Baichuan",
    "bloom": "text.alibi:Bloom",
    "chatglm": "text.glm:Glm",
    "cohere2": "text.cohere:Cohere2",
    "command-r": "text.cohere:Cohere",
    "dbrx": "text.dbrx:Dbrx",
    "deepseek": "text.deepseek:DeepSeek",
    "deepseek2": "text.deepseek:DeepSeek2",
    "falcon": "text.falcon:Falcon",
    "falcon-h1": "text.falcon_h1:FalconH1",
    "gemma": "text.gemma:Gemma",
    "gemma2": "text.gemma:Gemma2",
    "gemma3": "text.gemma:Gemma3",
    "glm4": "text.glm:Glm4",
    "glm4moe": "text.glm4_moe:Glm4MoE",
    "gpt-oss": "text.gpt_oss:GptOss",
    "gpt2": "text.gpt:GPT2",
    "gptneox": "text.neox:GPTNeoX",
    "granite": "text.granite:Granite",
    "granitehybrid": "text.granite_hybrid:GraniteHybrid",
    "granitemoe": "text.granite_moe:GraniteMoE",
    "grok": "text.grok:Grok",
    "internlm2": "text.internlm:InternLM2",
    "jamba": "text.jamba:Jamba",
    "lfm2": "text.lfm2:LFM2",
    "lfm2moe": "text.lfm2:LFM2MoE",
    "llama": "text.mixtral:Mixtral",  # Mistral's files are `llama` too; without experts and a window it is Llama
    "llama4": "text.llama4:Llama4",
    "mamba": "text.mamba:Mamba",
    "mamba2": "text.mamba2:Mamba2",
    "minicpm": "text.granite:MiniCPM",
    "mistral3": "text.ministral:Ministral3",
    "mpt": "text.alibi:Mpt",
    "nemotron": "text.nemotron:Nemotron",
    "olmo": "text.olmo:Olmo",
    "olmo2": "text.olmo:Olmo2",
    "olmoe": "text.olmoe:Olmoe",
    "phi2": "text.neox:Phi",
    "phi3": "text.phi3:Phi3",
    "phimoe": "text.phimoe:PhiMoE",
    "qwen": "text.qwen1:Qwen",
    "qwen2": "text.qwen2:Qwen2",
    "qwen2moe": "text.qwen_moe:Qwen2MoE",
    "qwen3": "text.qwen3:Qwen3",
    "qwen35": "text.qwen3_next:Qwen35",
    "qwen35moe": "text.qwen3_next:Qwen35MoE",
    "qwen3moe": "text.qwen_moe:Qwen3MoE",
    "qwen3next": "text.qwen3_next:Qwen3Next",
    "rwkv6": "text.rwkv6:Rwkv6",
    "rwkv7": "text.rwkv7:Rwkv7",
    "smollm3": "text.smollm3:SmolLM3",
    "stablelm": "text.stablelm:StableLM",
    "starcoder": "text.gpt:StarCoder",
    "starcoder2": "text.starcoder2:StarCoder2",
}

_DECODERS: Final = ("ForCausalLM", "LMHeadModel")  # what classes that write text end with
BORROWED: Final = "borrowed.decoder:Borrowed"


@dataclass(frozen=True, slots=True)
class Architecture:
    """A row of the table: the `name` in files of these `formats`, and the `family` that computes it."""

    name: str
    family: str
    formats: "tuple[Format, ...]"

    @property
    def known(self) -> Family:
        """What is to be said of the family."""
        return FAMILIES[self.family]


def architectures() -> list[Architecture]:
    """Every row, by name."""
    rows = [Architecture(name, _family(home), ("safetensors", "pytorch")) for name, home in HF.items()]
    rows += [Architecture(name, _family(home), ("gguf",)) for name, home in GGUF.items()]
    return sorted(rows, key=lambda row: row.name.lower())


def is_known(architecture: str, format: "Format") -> bool:  # noqa: A002
    """Whether some class computes an architecture of a weight format, one of `transformers` where that is here."""
    if format == "gguf":
        return architecture in GGUF
    return architecture in HF or is_lent(architecture)


def architecture_of(config: Mapping[str, Any]) -> str | None:
    """What a config.json says its weights are: the first of its `architectures`. Where that is a decoder of text by a
    name of its own, or is not said, but `model_type` is that of a family here, the family's; None where nobody says.
    """
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else None
    if architecture in HF or (architecture is not None and not architecture.endswith(_DECODERS)):
        return architecture
    return _OF_TYPES.get(_plain(str(config.get("model_type")).removesuffix("_text")), architecture)


def guess_of(config: Mapping[str, Any]) -> str | None:
    """What to tell of a config.json whose class is known by its `model_type` alone; None of any other."""
    named, found = config.get("architectures"), architecture_of(config)
    named = named[0] if isinstance(named, list) and named else None
    if found is None or found == named:
        return None
    said = "names no class" if named is None else f"names {named!r}, which is not known here"
    return f"its config.json {said}: by its model_type, {config.get('model_type')!r}, it is computed as {found}"


def _plain(name: str) -> str:
    """A name as classes and types of models share it: "Qwen2MoeForCausalLM" and "qwen2_moe" are both "qwen2moe"."""
    for end in (*_DECODERS, "ForConditionalGeneration"):
        name = name.removesuffix(end)
    return name.replace("_", "").replace("-", "").lower()


# Of several classes of one type the last that writes text alone.
_OF_TYPES: Final[Mapping[str, str]] = {
    _plain(name): name for name in sorted(HF, key=lambda name: name.endswith(_DECODERS))
}


def _family(home: str) -> str:
    return home.partition(":")[2]


def find(architecture: str, format: "Format") -> "type[Loadable]":  # noqa: A002
    """The class for an architecture of a weight format; what has none here `transformers` may have, if it is here.

    Raises `UnknownArchitecture` with near names.
    """
    names = GGUF if format == "gguf" else HF
    home = names.get(architecture)
    if home is None and format != "gguf" and is_lent(architecture):
        home = BORROWED
    if home is None:
        lender = EXTRA if format != "gguf" and architecture in NAMES else None
        raise UnknownArchitecture(architecture, get_close_matches(architecture, names, cutoff=0.6), lender)
    module, _, name = home.partition(":")
    model: type[Loadable] = getattr(import_module(f".{module}", __package__), name)
    return model
