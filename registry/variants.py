"""The variants of one model: its original weights, or one of its quantisations, and which of them a name asks for."""

import re
from dataclasses import dataclass

_LABEL = r"(?:UD-)?(?:I?Q\d+(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32)"
_IN_TAG = re.compile(rf"(?:(?P<base>.+)-)?(?P<label>{_LABEL})", re.IGNORECASE)
_IN_FILE = re.compile(rf"(?:^|[-._/])(?P<label>{_LABEL})(?=$|[-._/])", re.IGNORECASE)
_SAME = {"FP16": "F16", "FP32": "F32"}
_PLAIN = ("F16", "BF16", "F32")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The variant that a name asks for; `quant` None: whichever fits the machine."""

    quant: str | None = None

    @property
    def plain(self) -> bool:
        """Whether whole numbers of 16 or 32 bits are wanted: those are the original's."""
        return self.quant in _PLAIN


def split_quantisation(tag: str) -> tuple[str, Wanted]:
    """`8b-q8_0` as (`8b`, Q8_0). A tag without a quantisation is returned whole."""
    found = _IN_TAG.fullmatch(tag)
    if found is None:
        return tag, Wanted()
    return found["base"] or "", Wanted(label_of(found["label"]))


def label_of(text: str) -> str:
    """A quantisation as it is written here: Q4_K_M, F16."""
    label = text.upper()
    return _SAME.get(label, label)


def label_in(file_name: str) -> str | None:
    """The quantisation that the name of a GGUF file tells, or None."""
    labels = [found["label"] for found in _IN_FILE.finditer(file_name.removesuffix(".gguf"))]
    return label_of(labels[-1]) if labels else None
