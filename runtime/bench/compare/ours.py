"""unillm itself, through the whole engine: its scheduler and its sampler included."""

from collections.abc import Sequence
from pathlib import Path

from .peer import WorkerPeer
from .worker import Generate

OURS = WorkerPeer("unillm", "ours", "torch", (".gguf", ""))


def load(file: Path, threads: int) -> tuple[Generate, int]:
    from ...engine import Engine
    from ...options import EngineOptions
    from ...params import SamplingParams

    engine = Engine.load(file, options=EngineOptions(device="cpu", threads=threads, draft="off"))

    def generate(prompts: Sequence[Sequence[int]], answer: int) -> None:
        engine.generate(
            prompts, SamplingParams(max_tokens=answer, temperature=0.0, repetition_penalty=1.0, ignore_eos=True)
        )

    return generate, engine.vocabulary
