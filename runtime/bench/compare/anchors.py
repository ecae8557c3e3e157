"""What peers did on a quiet machine of the kind that this project is measured on: two cores of an AMD EPYC of Zen 4.

A peer that stays far below its own figure here is badly built, or runs beside something else: then it does not count.
"""

from collections.abc import Mapping
from typing import Final

NEAR: Final = 0.15

# By the synthetic model and the kind of its weights, the threads, the peer and the trial.
ANCHORS: Final[Mapping[tuple[str, str, int, str, str], float]] = {
    ("qwen3-0.6b", "q4_k_m", 2, "llama.cpp", "decode"): 56.0,
    ("qwen3-0.6b", "q8_0", 2, "llama.cpp", "decode"): 37.2,
    ("qwen3-0.6b", "bf16", 2, "llama.cpp", "decode"): 25.1,
    ("qwen3-0.6b", "q4_k_m", 2, "llama.cpp", "prompt-512"): 249.0,
    ("qwen3-0.6b", "q4_k_m", 2, "llama.cpp --no-repack", "prompt-512"): 335.0,
    ("qwen3-0.6b", "q8_0", 2, "llama.cpp", "prompt-512"): 203.0,
    ("qwen3-0.6b", "bf16", 2, "llama.cpp", "prompt-512"): 253.0,
    ("qwen3-0.6b", "q4_k_m", 2, "llama.cpp", "batch-16"): 67.0,
    ("qwen3-0.6b", "q4_k_m", 2, "llama.cpp", "batch-32"): 69.0,
}


def anchors_of(synthetic: str | None, kind: str, threads: int) -> dict[tuple[str, str], float]:
    """By peer and test, of this file on so many threads."""
    return {key[3:]: figure for key, figure in ANCHORS.items() if key[:3] == (synthetic, kind, threads)}
