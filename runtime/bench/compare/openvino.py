"""OpenVINO GenAI, which reads GGUF itself, and wants the file's vocabulary: a synthetic model has none and fails."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ....registry.formats.gguf import read_gguf
from .peer import WorkerPeer
from .worker import Generate

OPENVINO = WorkerPeer("openvino-genai", "openvino", "openvino_genai")


def load(file: Path, threads: int) -> tuple[Generate, int]:
    import numpy as np

    openvino: Any = import_module("openvino")
    openvino_genai: Any = import_module("openvino_genai")
    words = read_gguf(file).metadata.get("tokenizer.ggml.tokens")
    if not isinstance(words, list):
        raise ValueError("the file has no vocabulary, without which it is not loaded")
    pipeline: Any = openvino_genai.LLMPipeline(str(file), "CPU", INFERENCE_NUM_THREADS=threads)

    def generate(prompts: Sequence[Sequence[int]], answer: int) -> None:
        ids = np.array([list(prompt) for prompt in prompts], np.int64)
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        wanted = openvino_genai.GenerationConfig(max_new_tokens=answer, ignore_eos=True, do_sample=False)
        pipeline.generate(inputs, wanted)

    return generate, len(words)
