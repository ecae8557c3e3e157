"""Which architectures the classes of `transformers` compute here, told without it, and whether it is here.

These are decoders of text that are part of version 5 and pass the trial of a tiny model of random weights. A class that
a later version adds is asked for by its name all the same.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

EXTRA: Final = "unillm-cli[transformers]"

NAMES: Final = frozenset(
    {
        "AfmoeForCausalLM",
        "ApertusForCausalLM",
        "ArceeForCausalLM",
        "AXK1ForCausalLM",
        "AXK2ForCausalLM",
        "BailingHybridForCausalLM",
        "BambaForCausalLM",
        "BeamForCausalLM",
        "BioGptForCausalLM",
        "BitNetForCausalLM",
        "Cohere2MoeForCausalLM",
        "CTRLLMHeadModel",
        "CwmForCausalLM",
        "DeepseekV32ForCausalLM",
        "DeepseekV4ForCausalLM",
        "DiffLlamaForCausalLM",
        "DogeForCausalLM",
        "Dots1ForCausalLM",
        "Ernie4_5_MoeForCausalLM",
        "Ernie4_5ForCausalLM",
        "Exaone4ForCausalLM",
        "ExaoneMoeForCausalLM",
        "FlexOlmoForCausalLM",
        "FlintForCausalLM",
        "Glm4MoeLiteForCausalLM",
        "GlmMoeDsaForCausalLM",
        "GPTNeoXJapaneseForCausalLM",
        "GraniteMoeSWAForCausalLM",
        "GraniteSWAForCausalLM",
        "HeliumForCausalLM",
        "HrmTextForCausalLM",
        "HunYuanDenseV1ForCausalLM",
        "HunYuanMoEV1ForCausalLM",
        "HyperCLOVAXForCausalLM",
        "HYV3ForCausalLM",
        "HYV4ForCausalLM",
        "Inkling2ForCausalLM",
        "InklingForCausalLM",
        "Jais2ForCausalLM",
        "JetMoeForCausalLM",
        "KimiLinearForCausalLM",
        "Kolibri1ForCausalLM",
        "LagunaForCausalLM",
        "Lfm3ForCausalLM",
        "MellumForCausalLM",
        "MiMoV2FlashForCausalLM",
        "MiniCPM3ForCausalLM",
        "MiniMaxForCausalLM",
        "MiniMaxM2ForCausalLM",
        "ModernBertDecoderForCausalLM",
        "NanoChatForCausalLM",
        "NemotronHForCausalLM",
        "OlmoHybridForCausalLM",
        "OpenAIGPTLMHeadModel",
        "PersimmonForCausalLM",
        "SeedOssForCausalLM",
        "SolarOpenForCausalLM",
        "VaultGemmaForCausalLM",
        "XGLMForCausalLM",
        "YoutuForCausalLM",
        "ZayaForCausalLM",
    }
)


def is_here() -> bool:
    """Whether `transformers` is installed; nothing of it is imported."""
    return find_spec("transformers") is not None


def is_lent(architecture: str) -> bool:
    """Whether `transformers` is here and computes it. Only what is not in the list has it imported."""
    return is_here() and (architecture in NAMES or architecture in _theirs())


def _theirs() -> frozenset[str]:
    """Every class that the installed version has for text that goes on."""
    names: Any = import_module("transformers.models.auto.modeling_auto").MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return frozenset(name for each in names.values() for name in ((each,) if isinstance(each, str) else each))
