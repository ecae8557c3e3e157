"""Which architectures the classes of `transformers` compute here, told without it, and whether it is here.

These are decoders of text that are part of version 5 and pass the trial of a tiny model of random weights. A class that
a later version adds is asked for by its name all the same.
"""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeGuard

EXTRA: Final = "unillm-cli[transformers]"
_LIST: Final = Path("models", "auto", "modeling_auto.py")
_LISTED: Final = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"

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
    """Whether `transformers` is here and computes it."""
    return is_here() and (architecture in NAMES or architecture in _theirs())


@cache
def _theirs() -> frozenset[str]:
    """Every class that the installed version has for text that goes on, as its source lists them: to import that takes
    seconds, and torch.
    """
    spec = find_spec("transformers")
    homes = [] if spec is None else [Path(home) / _LIST for home in spec.submodule_search_locations or ()]
    sources = [home.read_text("utf-8") for home in homes if home.is_file()]
    listed = [node.value for source in sources for node in ast.parse(source).body if _is_list(node)]
    pairs = [ast.literal_eval(each.args[0]) for each in listed if isinstance(each, ast.Call)]
    names = [names for each in pairs for _, names in each]
    return frozenset(name for each in names for name in ((each,) if isinstance(each, str) else each))


def _is_list(node: ast.stmt) -> TypeGuard[ast.Assign]:
    if not isinstance(node, ast.Assign):
        return False
    return any(isinstance(target, ast.Name) and target.id == _LISTED for target in node.targets)
