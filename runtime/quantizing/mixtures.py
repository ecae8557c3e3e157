"""Which kind of block each tensor of a GGUF gets: llama.cpp's mixtures, by the names that it gives them.

A mixture is a usual kind and a few tensors that get a better one: those whose errors cost a model most. Knows names
and shapes, no numbers, and loads no torch.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from ...registry.formats.ggml_types import GGML_TYPES_BY_NAME

_NARROW: Final = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}  # for rows that are no whole blocks of 256
_HEAD: Final = "output.weight"
_EMBEDDING: Final = "token_embd.weight"
_FINEST: Final = ("Q8_0", "F16", "BF16")  # of which a head needs no better
_SMALL: Final = ("_norm.weight", "ffn_gate_inp.weight")  # little to gain, much to lose


@dataclass(frozen=True, slots=True)
class Mixture:
    """`number` is what `general.file_type` says of it. `some` is for the values and the last projection of one layer in
    three, and of the first and last eighth; `first` for those of the first layers alone.
    """

    number: int
    usual: str
    some: str | None = None
    first: str | None = None

    def kind_of(self, name: str, shape: tuple[int, ...], names: Collection[str], layers: int) -> str | None:
        """The kind for a tensor among `names`; None: it stays in fp32."""
        if len(shape) < 2 or not name.endswith(".weight") or name.endswith(_SMALL):
            return None
        kind = self._wanted(name, names, layers)
        return _fitting(kind, shape[-1], head=_is_head(name, names))

    def _wanted(self, name: str, names: Collection[str], layers: int) -> str:
        if _is_head(name, names):
            return self.usual if self.usual in _FINEST else "Q6_K"
        if not name.endswith(("attn_v.weight", "ffn_down.weight")):
            return self.usual
        layer = int(name.split(".")[1])
        if self.some and _deserves_more(layer, layers):
            return self.some
        firsts = 4 if name.endswith("attn_v.weight") else layers // 8
        return self.first if self.first and layer < firsts else self.usual


MIXTURES: Final[Mapping[str, Mixture]] = {
    "f16": Mixture(1, "F16"),
    "bf16": Mixture(32, "BF16"),
    "q4_0": Mixture(2, "Q4_0"),
    "q4_1": Mixture(3, "Q4_1"),
    "q8_0": Mixture(7, "Q8_0"),
    "q5_0": Mixture(8, "Q5_0"),
    "q5_1": Mixture(9, "Q5_1"),
    "q4_k_s": Mixture(14, "Q4_K", first="Q5_K"),
    "q4_k_m": Mixture(15, "Q4_K", some="Q6_K"),
    "q5_k_s": Mixture(16, "Q5_K"),
    "q5_k_m": Mixture(17, "Q5_K", some="Q6_K"),
    "q6_k": Mixture(18, "Q6_K"),
}


def _is_head(name: str, names: Collection[str]) -> bool:
    """The matrix of the last product: the table of tokens where it serves for both."""
    return name == _HEAD or (name == _EMBEDDING and _HEAD not in names)


def _deserves_more(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _fitting(kind: str, columns: int, *, head: bool) -> str:
    """The kind, or the next best whose blocks fill the row."""
    if not _fits(kind, columns):
        kind = "Q8_0" if head else _NARROW.get(kind, kind)
    return kind if _fits(kind, columns) else "F16"


def _fits(kind: str, columns: int) -> bool:
    return columns % GGML_TYPES_BY_NAME[kind].elements == 0
