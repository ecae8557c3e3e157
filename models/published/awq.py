"""AWQ, as AutoAWQ writes it for its `gemm`: rows of words, along which the outputs run, in an order of their own.

qweight [in, out / 8] int32, qzeros [groups, out / 8] int32    eight outputs a word: 0, 2, 4, 6, 1, 3, 5, 7
scales  [groups, out]
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..quantized import QuantizedTensor
from .bits import fields
from .grouped import Grouped
from .stored import FLOATS, Stored

_BITS = 4
_WORD = 8  # outputs


def _outputs(words: Tensor) -> Tensor:
    """[n, words] -> uint8 [n, outputs], in their order."""
    return fields(words, _BITS).view(*words.shape, 2, _WORD // 2).transpose(-1, -2).flatten(1)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class AwqTensor(Grouped):
    """`data` is qweight."""

    def numbers(self, rows: slice) -> Tensor:
        start, stop, _ = rows.indices(self.shape[0])
        first = start // _WORD
        found = _outputs(self.data[:, first : -(-stop // _WORD)])
        return found[:, start - first * _WORD : stop - first * _WORD].T.contiguous()

    def cut_rows(self, start: int, stop: int) -> Tensor:
        if start % _WORD or stop % _WORD:
            raise ValueError(f"rows {start}:{stop} of an AWQ matrix do not fall on its words of {_WORD}")
        return self.data[:, start // _WORD : stop // _WORD]

    def cut_columns(self, start: int, stop: int) -> Tensor:
        return self.data[start:stop]

    @property
    def shared(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Awq:
    """The size of groups follows from the shapes."""

    marks: ClassVar[tuple[str, ...]] = ("qweight",)
    others: ClassVar[tuple[str, ...]] = ("qzeros", "scales")

    def read(self, stored: Stored) -> QuantizedTensor:
        words, scales = stored.matrix("qweight", torch.int32), stored.matrix("scales", *FLOATS)
        packed_zeros = stored.matrix("qzeros", torch.int32)
        columns, out = words.shape[0], words.shape[1] * _WORD
        groups = len(scales)
        stored.expect("scales", (groups, out))
        stored.expect("qzeros", (groups, words.shape[1]))
        if columns % groups:
            raise stored.error("scales", f"are of {groups} groups, which do not divide {columns} inputs")
        side = {"scales": scales.T, "zeros": _outputs(packed_zeros).T.contiguous()}
        return AwqTensor("AWQ 4-bit", (out, columns), words, side=side, bits=_BITS, group=columns // groups)
