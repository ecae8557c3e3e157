"""What rounding activations to 8 bits costs a trained model: perplexity, and how long answers stay the exact ones.

A text of 2000 tokens tells the perplexity's ratio to about a quarter of a percent, three of them together to an eighth:
a short one tells nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
from torch import Tensor

from unillm.models.contract import Model, Placement
from unillm.registry.files import ModelFiles
from unillm.runtime.text.tokenizer import load_tokenizer
from unillm.runtime.weights.load import load_model
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import EXACT, PLACE, ROUNDED
from unillm.tests.support.packages import smollm2_gguf

ROOT = Path(__file__).parents[2]
TEXTS = (ROOT / "LICENSE", ROOT / "README.md", ROOT / "runtime" / "engine.py")
TOKENS, WINDOW, COUNT = 2000, 500, 24
LONG = 12_000  # tokens
PROMPTS = ("The capital of France is", "Water is made of", "In the beginning", "A haiku about the sea:")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.weights,
    pytest.mark.skipif(EXACT.kernels is None, reason="no CPU kernels here"),
]


def loaded(place: Placement) -> Model:
    return load_model(files(), place)


def files() -> ModelFiles:
    path = smollm2_gguf()
    return ModelFiles("smollm2", "gguf", (path,), {path.name: path})


def encoded(text: str) -> list[int]:
    tokenizer = load_tokenizer(files())
    assert tokenizer is not None
    return tokenizer.encode(text)


def log_probabilities(model: Model, ids: Sequence[int]) -> Tensor:
    """Of each token after those before it, in windows."""
    found = []
    for start in range(0, len(ids) - 1, WINDOW):
        window = list(ids[start : start + WINDOW + 1])
        scores = Pages(model).whole(window[:-1]).log_softmax(-1)
        found.append(scores.gather(1, torch.tensor(window[1:])[:, None]).squeeze(1))
    return torch.cat(found).double()


def agreeing(answer: Sequence[int], exact: Sequence[int]) -> int:
    """How many tokens are the same before the first that is not."""
    return next((i for i, (a, b) in enumerate(zip(answer, exact, strict=True)) if a != b), len(exact))


def check_ratio(lost: Tensor) -> None:
    """Of two perplexities, by what each token's logarithmic probability lost."""
    ratio, uncertain = float(lost.mean().expm1()), float(lost.std() / len(lost) ** 0.5)
    assert uncertain < 0.002, f"a standard error of {uncertain:.2%} tells too little"
    assert abs(ratio) <= 0.005, f"{ratio:+.2%}, with a standard error of {uncertain:.2%}"


def test_perplexity_of_three_texts_together_is_within_half_a_percent_of_the_exact() -> None:
    exact, rounded = loaded(EXACT), loaded(ROUNDED)
    lost = []
    for text in TEXTS:
        ids = encoded(text.read_text("utf-8"))[:TOKENS]
        lost.append(log_probabilities(exact, ids) - log_probabilities(rounded, ids))
    check_ratio(torch.cat(lost))


def test_perplexity_of_one_long_text_is_within_half_a_percent_of_the_exact() -> None:
    """The text is Python's own reference, which comes with it; what is exact, torch says too."""
    ids = encoded("\n\n".join(topics[name] for name in sorted(topics)))[:LONG]
    assert len(ids) == LONG
    torchs, exact, rounded = (log_probabilities(loaded(place), ids) for place in (PLACE, EXACT, ROUNDED))
    assert float((torchs - exact).mean().expm1()) == pytest.approx(0.0, abs=1e-5)
    check_ratio(exact - rounded)


def test_greedy_answers_follow_the_exact_ones_as_long_as_llama_cpps_do() -> None:
    from unillm.tests.support.llama_cpp import LlamaCpp  # skips without the wheel

    exact, rounded, peer = loaded(EXACT), loaded(ROUNDED), LlamaCpp(smollm2_gguf())
    ours = theirs = 0
    for prompt in PROMPTS:
        ids = encoded(prompt)
        wanted = exact.generate(ids, COUNT)
        ours += agreeing(rounded.generate(ids, COUNT), wanted)
        theirs += agreeing(peer.greedy(ids, COUNT), wanted)
    assert ours >= theirs
