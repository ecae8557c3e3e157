"""A cursor into a checkpoint: names and shapes of tensors, said once, next to the layers that they fill.

`weights / "model" / "layers" / 0` is a place in it. What is missing or of another shape is collected, and a stand-in
without memory keeps the load going, so that `finish` lists everything at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from typing import Final, TypeAlias

import torch
from torch import Tensor

from ..contract import Part, Placement, Weight, WeightLoader
from ..encoding import packed
from ..errors import SplitError, WeightsError
from ..ops.gpu_products import placed
from ..quantized import QuantizedTensor

Shape: TypeAlias = tuple[int | None, ...]

_LISTED: Final = 6
_FEW: Final = 1 << 20  # numbers of a stand-in that may take memory


@dataclass(slots=True)
class _Findings:
    """What one load has seen so far."""

    taken: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    def misses(self, name: str) -> None:
        """Once, though several weights are looked for in it."""
        if name not in self.missing:
            self.missing.append(name)

    def mistakes(self, said: str) -> None:
        if said not in self.misshapen:
            self.misshapen.append(said)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a checkpoint. `rename` turns the model's name of a tensor into the file's.

    `turned`: matrices here are stored [in, out], as GPT-2's are; they are turned as they are loaded.
    """

    loader: WeightLoader
    place: Placement
    rename: Callable[[str], str] = str
    path: str = ""
    findings: _Findings = field(default_factory=_Findings)
    turned: bool = False

    def __truediv__(self, step: str | int) -> "Checkpoint":
        path = f"{self.path}.{step}" if self.path else str(step)
        return replace(self, path=path)

    @property
    def in_gguf(self) -> bool:
        return self.loader.metadata.format == "gguf"

    @property
    def name(self) -> str:
        """The tensor at this place, as the file calls it."""
        return self.rename(self.path)

    def exists(self) -> bool:
        return self.loader.has_tensor(self.name)

    def grain(self) -> int:
        """How many columns of the tensor here are one block, where ranks divide it."""
        if self.place.world == 1 or not self.exists():
            return 1
        weight = self.loader.load_tensor(self.name)
        return 1 if isinstance(weight, Tensor) else weight.block

    def matrix(self, shape: Shape, part: Part | None = None) -> Weight:
        """The tensor here, or `part` of it, on the model's device: as stored, or as the placement's kernels pack it.
        None in `shape` takes any size.
        """
        self.findings.taken.add(self.name)
        if not self.exists():
            self.findings.misses(self.name)
            return _stand_in(shape, part, self.place.device)
        weight = self.loader.load_tensor(self.name)
        stored = shape[::-1] if self.turned and isinstance(weight, Tensor) else shape
        if not _fits(tuple(weight.shape), stored):
            wanted = [size or "any" for size in stored]
            self.findings.mistakes(f"{self.name} is {list(weight.shape)} where {wanted} belongs")
            return _stand_in(shape, part, self.place.device)
        if self.turned and isinstance(weight, Tensor) and len(shape) > 1:
            weight = _cut(weight.T, part).contiguous()
            return self._placed(weight)
        return self._placed(weight if part is None else self._part(part))

    def as_stored(self) -> "Checkpoint":
        """The same place, whose matrices come as the file has them, for a family to rearrange and have `settled`."""
        return replace(self, place=replace(self.place, kernels=None, quantize=None))

    def settled(self, weight: Weight) -> Weight:
        """A weight made of what was loaded here, on the model's device, packed as all others are."""
        return weight if weight.device.type == "meta" else self._placed(weight)  # a stand-in has no memory

    def vector(self, size: int, part: Part | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """A small tensor, in `dtype` whatever it is stored as."""
        vector = self.matrix((size,), part)
        return vector.to(dtype) if isinstance(vector, Tensor) else vector.dequantize(dtype)

    def numbers(self, *shape: int) -> Tensor:
        """A small tensor of any shape, in fp32 whatever it is stored as. Tools that rewrite a GGUF leave out dimensions
        of 1 at the front.
        """
        there = len(self.loader.load_tensor(self.name).shape) if self.in_gguf and self.exists() else len(shape)
        left_out = max(0, len(shape) - there)
        stored = self.as_stored().matrix(shape[left_out:] if set(shape[:left_out]) == {1} else shape)
        if stored.device.type == "meta" and prod(shape) <= _FEW:
            return torch.zeros(shape, device=self.place.device)
        found = stored.float() if isinstance(stored, Tensor) else stored.dequantize(torch.float32)
        return found.reshape(shape) if left_out and found.numel() == prod(shape) else found

    def finish(self, ignored: Callable[[str], bool]) -> None:
        """Raise `WeightsError` unless all that was asked for was there, and nothing but that and `ignored` names."""
        found = self.findings
        surplus = [name for name in self.loader.tensor_names() if name not in found.taken and not ignored(name)]
        refuse_others(self.loader.metadata.architecture, found.missing, found.misshapen, surplus)

    def _placed(self, weight: Weight) -> Weight:
        kernels, copied = self.place.kernels, False
        if isinstance(weight, Tensor) and (kind := self._kind(weight)) is not None:
            weight, copied = packed(kind, weight), True
        if kernels is not None and isinstance(weight, QuantizedTensor):
            weight = weight.in_blocks()
            if kernels.packs(weight):
                weight, copied = kernels.pack(weight), True
        if copied and self.exists():
            self.loader.release(self.name)
        return placed(weight.to(self.place.device))

    def _kind(self, weight: Tensor) -> str | None:
        """The blocks that a plain matrix is packed into, if it is."""
        if self.place.quantize is None or weight.dim() < 2 or not weight.dtype.is_floating_point:
            return None
        return self.place.quantize(self.name, tuple(weight.shape))

    def _part(self, part: Part) -> Weight:
        try:
            return self.loader.load_tensor(self.name, part)
        except ValueError as error:
            raise SplitError(self.name, self.place.world, str(error)) from error


def refuse_others(architecture: str, missing: list[str], misshapen: list[str], surplus: list[str]) -> None:
    """Raise `WeightsError` that lists tensors which are not an architecture's, unless there are none."""
    lists = (("missing", missing), ("of another shape", misshapen), ("surplus", surplus))
    said = "; ".join(f"{len(names)} {word}: {_listed(names)}" for word, names in lists if names)
    if said:
        reason = f"the tensors are not those of {architecture}: {said}"
        raise WeightsError(reason, missing=missing, surplus=surplus, misshapen=misshapen)


def _cut(weight: Tensor, part: Part | None) -> Tensor:
    return weight if part is None else weight.narrow(part.dim, part.start, part.stop - part.start)


def _fits(shape: tuple[int, ...], wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(w is None or size == w for size, w in zip(shape, wanted, strict=True))


def _stand_in(shape: Shape, part: Part | None, device: torch.device) -> Tensor:
    """Vectors are computed with as others are loaded, so that theirs is one number seen as many."""
    sizes = [1 if size is None else size for size in shape]
    if part is not None:
        sizes[part.dim] = part.stop - part.start
    if sum(size > 1 for size in sizes) < 2:
        return torch.zeros((), device=device).expand(sizes)
    return torch.empty(sizes, device="meta")


def _listed(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
