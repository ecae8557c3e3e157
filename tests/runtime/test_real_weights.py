"""Trained weights through the whole engine, against `transformers` on exactly the same numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from unillm import Engine, SamplingParams
from unillm.tests.support.packages import smollm2_gguf

COUNT = 32
PROMPTS = (
    "Explain gravity in one sentence",
    "What is the capital of France?",
    "Write a haiku about the sea.",
)
OWN_WEIGHTS = Path(__file__).parents[3] / "shared" / "data" / "weights"  # where this machine has some


class Reference:
    """A GGUF that `transformers` itself has dequantised to fp32."""

    def __init__(self, gguf: Path) -> None:
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )

    def chat_ids(self, prompt: str) -> list[int]:
        message = [{"role": "user", "content": prompt}]
        ids = self.tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=True)["input_ids"]
        return list(ids)

    def continued(self, ids: Sequence[int]) -> list[int]:
        """The greedy answer, its end token included."""
        out = self.model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=COUNT)
        return list(out[0, len(ids) :].tolist())


@pytest.mark.weights
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_smollm2_answers_three_chats_as_transformers_does() -> None:
    gguf = smollm2_gguf()
    reference = Reference(gguf)
    with Engine.load(gguf, dtype="fp32", context=512, exact=True) as engine:
        for prompt in PROMPTS:
            answer = engine.chat([{"role": "user", "content": prompt}], SamplingParams(temperature=0, max_tokens=COUNT))
            ids = reference.chat_ids(prompt)
            assert answer.usage.prompt_tokens == len(ids)
            assert list(answer.token_ids) == reference.continued(ids)


@pytest.mark.slow
@pytest.mark.weights
def test_the_distance_to_llama_cpp_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Said, not judged: llama.cpp rounds activations to 8 bits, and drifts from the exact answer on this file."""
    from unillm.tests.support.llama_cpp import LlamaCpp

    gguf = smollm2_gguf()
    peer, lines = LlamaCpp(gguf), []
    with Engine.load(gguf, dtype="fp32", context=512, exact=True) as engine:
        for prompt in PROMPTS:
            message = [{"role": "user", "content": prompt}]
            ours = engine.chat(message, SamplingParams(temperature=0, max_tokens=COUNT)).token_ids
            theirs = peer.greedy(Reference(gguf).chat_ids(prompt), len(ours))
            same = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), len(ours))
            lines.append(f"{prompt!r}: the first {same} of {len(ours)} tokens are llama.cpp's")
    with capsys.disabled():
        print("", *lines, sep="\n  ")
    assert len(lines) == len(PROMPTS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("stories15M/stories15M-q8_0.gguf", "Once upon a time"),
        ("stories260K/stories260K-q4_0.gguf", "Once upon a time"),
        ("minimind2-small/minimind2-small-q8_0.gguf", "The capital of France"),
    ],
)
def test_small_trained_weights_go_on_as_transformers_does(name: str, text: str) -> None:
    gguf = OWN_WEIGHTS / name
    if not gguf.exists():
        pytest.skip(f"{name} is not on this machine")
    with Engine.load(gguf, dtype="fp32", exact=True) as engine:
        assert engine.tokenizer is not None
        ids = engine.tokenizer.encode(text)
        answer = engine.generate(ids, SamplingParams(temperature=0, max_tokens=COUNT))
    reference = Reference(gguf)
    wanted = reference.continued(ids)
    assert list(answer.token_ids) == wanted[: len(answer.token_ids)]
    assert len(answer.token_ids) == len(wanted) or answer.finish_reason == "stop"
