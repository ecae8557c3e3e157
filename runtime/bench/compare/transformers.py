"""Hugging Face transformers in bfloat16: the file's numbers, unpacked by it; by us where there is no vocabulary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .peer import WorkerPeer
from .unpacked import unpacked
from .worker import Generate

TRANSFORMERS = WorkerPeer("transformers bf16", "transformers", "transformers", (".gguf", ""), unpacked)


def load(file: Path, threads: int) -> tuple[Generate, int]:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    where = {"gguf_file": file.name} if file.suffix == ".gguf" else {}
    folder = file.parent if file.suffix == ".gguf" else file
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **where)  # in its mode for running

    @torch.inference_mode()
    def generate(prompts: Sequence[Sequence[int]], answer: int) -> None:
        ids = torch.tensor([list(prompt) for prompt in prompts])
        mask = torch.ones_like(ids)
        model.generate(ids, attention_mask=mask, do_sample=False, min_new_tokens=answer, max_new_tokens=answer)

    return generate, int(model.config.vocab_size)
