"""The marks by which families know a hole in a text: what stands before it, after it, and the place to fill it in."""

from ...registry.files import ModelFiles
from ...registry.formats.gguf import read_gguf

HOLES = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("[PREFIX]", "[SUFFIX]", "[MIDDLE]"),
)


def fills_holes(files: ModelFiles) -> bool:
    """Whether a model's vocabulary has the marks of a family. Nothing is loaded."""
    if files.format == "gguf":
        tokens = read_gguf(files.weights, vocabulary=True).metadata.get("tokenizer.ggml.tokens")
        known = set(tokens) if isinstance(tokens, list) else set()
        return any(known.issuperset(marks) for marks in HOLES)
    if "tokenizer.json" not in files.files:
        return False
    text = files.files["tokenizer.json"].read_text("utf-8", "replace")
    return any(
        all(f'"content":"{mark}"' in text or f'"content": "{mark}"' in text for mark in marks) for marks in HOLES
    )
