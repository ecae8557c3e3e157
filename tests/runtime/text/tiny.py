"""Small tokenizers, trained on the spot, in every shape that files come in."""

import io
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from unillm.registry.files import ModelFiles
from unillm.registry.formats.gguf import GGUFValue
from unillm.runtime.text.gguf_vocabulary import read_vocabulary
from unillm.runtime.text.tokenizer import Tokenizer as Ours

TEXT = (
    "The quick brown fox jumps over the lazy dog. It isn't far, they've said; 1234 steps, or 56.7 miles!",
    "def add(left, right):\n    return left + right  # sums\n\n\nprint(add(1, 2))",
    "Привет, мир! Как дела? 你好，世界。今天天气很好。 こんにちは世界 🦙🚀 naïve café Äpfel",
    "   spaces   and\ttabs\r\n\r\nand lines \n \n",
)
SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
ADDED = ("<tool_call>", "<|user|>")


@cache
def byte_level_json() -> str:
    """GPT-2's kind of tokenizer, as tokenizer.json."""
    pipeline = Tokenizer(models.BPE())
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pipeline.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=list(SPECIAL), initial_alphabet=alphabet)
    pipeline.train_from_iterator(TEXT, trainer)
    pipeline.add_tokens([AddedToken(name, normalized=False) for name in ADDED])
    return str(pipeline.to_str())


def with_bos(source: str) -> str:
    """The same tokenizer, which puts `<s>` in front."""
    pipeline = Tokenizer.from_str(source)
    pipeline.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", pipeline.token_to_id("<s>"))]
    )
    return str(pipeline.to_str())


def folder(path: Path, tokenizer: str | None = None, **others: Any) -> ModelFiles:
    """A model's folder with these small files in it; `generation_config={...}` writes generation_config.json."""
    files = {"tokenizer.json": tokenizer} if tokenizer is not None else {}
    files |= {f"{name}.json": json.dumps(content) for name, content in others.items()}
    for name, content in files.items():
        (path / name).write_text(content, encoding="utf-8")
    return ModelFiles("tiny", "safetensors", (), {name: path / name for name in files})


def byte_level_keys(source: str, pre: str | None = "gpt-2") -> dict[str, GGUFValue]:
    """The key-values by which a GGUF says the same as a tokenizer.json of byte-level BPE."""
    found = json.loads(source)
    ids = dict(found["model"]["vocab"])
    ids.update({token["content"]: token["id"] for token in found["added_tokens"]})
    kinds = dict.fromkeys(ids.values(), 1)
    kinds.update({token["id"]: 3 if token["special"] else 4 for token in found["added_tokens"]})
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in found["model"]["merges"]]
    keys: dict[str, GGUFValue] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": sorted(ids, key=ids.__getitem__),
        "tokenizer.ggml.token_type": [kinds[id_] for id_ in range(len(ids))],  # type: ignore[dict-item]
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": ids["<s>"],
        "tokenizer.ggml.eos_token_id": ids["</s>"],
    }
    return keys if pre is None else keys | {"tokenizer.ggml.pre": pre}


@cache
def sentencepiece_model(*, prefix: bool = True, tidy: bool = False) -> sentencepiece.SentencePieceProcessor:
    """SentencePiece's own BPE with bytes to fall back on."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in TEXT for line in text.splitlines() if line.strip()] * 3),
        model_writer=written,
        model_type="bpe",
        vocab_size=440,
        byte_fallback=True,
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=tidy,
        normalization_rule_name="identity",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())


def sentencepiece_keys(model: sentencepiece.SentencePieceProcessor) -> dict[str, GGUFValue]:
    """The key-values by which a GGUF says the same as a SentencePiece model."""
    ids = range(model.get_piece_size())
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [model.id_to_piece(id_) for id_ in ids],
        "tokenizer.ggml.scores": [model.get_score(id_) for id_ in ids],  # type: ignore[dict-item]
        "tokenizer.ggml.token_type": [_kind(model, id_) for id_ in ids],  # type: ignore[dict-item]
        "tokenizer.ggml.bos_token_id": model.bos_id(),
        "tokenizer.ggml.eos_token_id": model.eos_id(),
        "tokenizer.ggml.unknown_token_id": model.unk_id(),
    }


def _kind(model: sentencepiece.SentencePieceProcessor, id_: int) -> int:
    if model.is_unknown(id_):
        return 2
    if model.is_control(id_):
        return 3
    return 6 if model.is_byte(id_) else 1


def from_keys(keys: Mapping[str, GGUFValue]) -> Ours:
    """The tokenizer of a GGUF with these key-values."""
    vocabulary = read_vocabulary(keys, "tiny.gguf")
    assert vocabulary is not None
    return Ours(vocabulary)


def changed(keys: Mapping[str, GGUFValue], **values: object) -> dict[str, Any]:
    """`keys` with some of `tokenizer.ggml.*` replaced; None takes one out."""
    found: dict[str, Any] = dict(keys)
    for name, value in values.items():
        found[f"tokenizer.ggml.{name}"] = value
    return {name: value for name, value in found.items() if value is not None}


TRICKY: Sequence[str] = (
    *TEXT,
    "",
    " ",
    "  ",
    "\n",
    "\n\n\n",
    " leading and trailing ",
    "x" * 100,
    " " * 40 + "x",
    "mixed\tof  all\n \n things",
    "e\u0301 \u200d \u00a0 \u3000 ﬁ ǅ ½ ³",
    "\ufdd0\ufdd1 \ufdd0 \ufdd1 \ufdd0\ufdd0\ufdd1\ufdd1",
    "<0x0A> ▁ Ġ",
    "\u0000\u0001\u007f",
    "👩‍👩‍👧‍👦🇩🇪",
)
