"""llama.cpp itself, asked by token ids: the optional wheel `xllamacpp`. Whoever imports this skips without it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

llama_cpp = pytest.importorskip("xllamacpp")


class LlamaCpp:
    """A file served by llama.cpp, its cache in fp32."""

    def __init__(self, path: Path) -> None:
        params = llama_cpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.warmup, params.verbosity, params.ui = 256, 1, False, -1, False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.cache_type_k = params.cache_type_v = llama_cpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = llama_cpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = llama_cpp.Server(params)

    def log_probabilities(self, ids: Sequence[int], vocabulary: int) -> Tensor:
        """Of every token, after these."""
        asked = {"prompt": list(ids), "n_predict": 1, "temperature": 0.0, "n_probs": vocabulary, "cache_prompt": False}
        answer = self.server.handle_completions(asked)
        scores = {
            each["id"]: each["logprob"] for each in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        }
        return torch.tensor([scores[token] for token in range(vocabulary)])

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """The `count` most probable tokens, one after another."""
        asked = {"prompt": list(ids), "n_predict": count, "temperature": 0.0, "n_probs": 1, "cache_prompt": False}
        answer = self.server.handle_completions(asked)
        return [each["id"] for each in answer["choices"][0]["logprobs"]["content"]]
