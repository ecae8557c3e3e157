"""vLLM built for CPUs: bf16, and int8 rows with activations rounded by token."""

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .peer import WorkerPeer
from .unpacked import unpacked, unpacked_int8
from .worker import Generate

_WHAT = "it is given folders, and synthetic models as such"
VLLM = WorkerPeer("vllm bf16", "vllm", "vllm", ("",), unpacked, _WHAT)
VLLM_INT8 = WorkerPeer("vllm w8a8", "vllm", "vllm", ("",), unpacked_int8, _WHAT)


def load(file: Path, threads: int) -> tuple[Generate, int]:
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{threads - 1}"
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    vllm: Any = import_module("vllm")
    engine: Any = vllm.LLM(str(file), skip_tokenizer_init=True, dtype="bfloat16", max_model_len=4096, max_num_seqs=32)

    def generate(prompts: Sequence[Sequence[int]], answer: int) -> None:
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        wanted = vllm.SamplingParams(temperature=0.0, max_tokens=answer, ignore_eos=True, detokenize=False)
        engine.generate(asked, wanted, use_tqdm=False)

    return generate, int(engine.llm_engine.model_config.get_vocab_size())
