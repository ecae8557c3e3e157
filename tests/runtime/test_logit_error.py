"""How far rounded activations take the scores of a 0.6B-shaped model from exact ones, beside llama.cpp."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from unillm.models.contract import Placement
from unillm.registry.files import ModelFiles
from unillm.runtime.bench import synthetic
from unillm.runtime.quantizing.gguf_file import Planned, Value, write_gguf
from unillm.runtime.quantizing.mixtures import MIXTURES
from unillm.runtime.weights.load import load_model
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import EXACT, ROUNDED

VOCABULARY, BYTES, PROMPTS, LENGTH = 2048, 256, 24, 24

pytestmark = [pytest.mark.slow, pytest.mark.skipif(EXACT.kernels is None, reason="no CPU kernels here")]


def written(kind: str, path: Path) -> Path:
    """The synthetic model, with a small vocabulary, for llama.cpp runs none without."""
    shape, mixture = replace(synthetic.SHAPES["qwen3-0.6b"], vocabulary=VOCABULARY), MIXTURES[kind]
    listed, rest = dict(shape.tensors()), VOCABULARY - BYTES - 3
    planned = []
    for number, (name, size) in enumerate(listed.items()):
        stored = mixture.kind_of(name, size, listed, shape.layers) or "F32"
        planned.append(Planned(name, stored, size, partial(synthetic._made, stored, size, number)))
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(BYTES)), *(f"t{i}" for i in range(rest))]
    keys = shape.keys(mixture.number) | {
        "tokenizer.ggml.model": Value("llama", "STRING"),
        "tokenizer.ggml.tokens": Value(words, "STRING"),
        "tokenizer.ggml.scores": Value([0.0] * VOCABULARY, "FLOAT32"),
        "tokenizer.ggml.token_type": Value([2, 3, 3] + [6] * BYTES + [1] * rest, "INT32"),
    }
    write_gguf(path, keys, planned, lambda *_: None)
    return path


def scores(path: Path, place: Placement, prompts: list[list[int]]) -> Tensor:
    model = load_model(ModelFiles("made", "gguf", (path,), {path.name: path}), place)
    return centred(torch.stack([Pages(model).whole(prompt)[-1] for prompt in prompts]))


def centred(numbers: Tensor) -> Tensor:
    return numbers.double() - numbers.double().mean(-1, keepdim=True)


# llama.cpp rounds in blocks of 256 for Q4_K, and like us in blocks of 32 for Q8_0: there the two are alike but for what
# so many prompts differ by, a hundredth or two.
@pytest.mark.parametrize(("kind", "most"), [("q4_k_m", 1.0), ("q8_0", 1.03)])
def test_scores_are_no_further_from_the_exact_ones_than_llama_cpps(tmp_path: Path, kind: str, most: float) -> None:
    from unillm.tests.support.llama_cpp import LlamaCpp  # skips without the wheel

    path, random = written(kind, tmp_path / "model.gguf"), Random(3)
    prompts = [[random.randrange(BYTES + 3, VOCABULARY) for _ in range(LENGTH)] for _ in range(PROMPTS)]
    exact = scores(path, EXACT, prompts)
    spoken = exact.argmax(-1) >= BYTES + 3  # after an end, or half a character, it tells no scores
    prompts, exact = [prompt for prompt, says in zip(prompts, spoken.tolist(), strict=True) if says], exact[spoken]
    ours, peer = scores(path, ROUNDED, prompts), LlamaCpp(path)
    theirs = centred(torch.stack([peer.log_probabilities(prompt, VOCABULARY) for prompt in prompts]))
    wrong = [float(((each - exact).norm(dim=1) / exact.norm(dim=1)).mean()) for each in (ours, theirs)]
    assert wrong[0] <= most * wrong[1]
