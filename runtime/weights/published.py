"""Checkpoints whose matrices some other tool has packed: to a model, each is one weight under its plain name.

Knows names and which tensors belong together; what they mean is for `models/published` to say. Matrices of all experts
in one tensor, as transformers 5 packs them, are one weight each: `experts.down_proj.3`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...models.contract import Part, Weight
from ...models.errors import WeightsError
from ...models.published.methods import PASSED_BY, Method, without_method
from ...models.published.stored import Stored
from .sized import Overlaid, SizedLoader


@dataclass(frozen=True, slots=True)
class _Packed:
    """The tensors of a packed matrix, by their names, with their ends for the tool; of a stack, those of one expert."""

    stem: str
    ends: dict[str, str]
    expert: int | None = None


class PublishedWeights(Overlaid):
    """`inner` with the tensors of each packed matrix seen as one."""

    def __init__(self, inner: SizedLoader, method: Method) -> None:
        super().__init__(inner, replace(inner.metadata, config=without_method(inner.metadata.config)))
        self._method = method
        self._names = dict(_matrices(inner, method))
        self._parts = {part for packed in self._names.values() for part in packed.ends}

    @property
    def stored_dtype(self) -> torch.dtype | None:
        """None: packed matrices lie beside plain ones."""
        return None if self._names else self._inner.stored_dtype

    def tensor_names(self) -> list[str]:
        plain = [
            name for name in self._inner.tensor_names() if name not in self._parts and not self._is_passed_by(name)
        ]
        return [*plain, *self._names]

    def has_tensor(self, name: str) -> bool:
        return name in self._names or (name not in self._parts and self._inner.has_tensor(name))

    def load_tensor(self, name: str, part: Part | None = None) -> Weight:
        if name not in self._names:
            return self._inner.load_tensor(name, part)
        packed = self._names[name]
        found = {end: self._inner.load_tensor(each) for each, end in packed.ends.items()}
        plain = {end: one for end, one in found.items() if isinstance(one, Tensor)}
        if packed.expert is not None:
            plain = {end: one[packed.expert] for end, one in plain.items()}
        weight = self._method.read(Stored(packed.stem, plain))
        return weight if part is None else weight.part(part)

    def release(self, name: str) -> None:
        """Of what experts share nothing goes with one of them."""
        packed = self._names.get(name)
        for each in [name] if packed is None else packed.ends if packed.expert is None else ():
            self._inner.release(each)

    def _is_passed_by(self, name: str) -> bool:
        """Scales of what is not a weight, and the biases of nothing that some tools add to every packed matrix."""
        stem, _, end = name.rpartition(".")
        if end in PASSED_BY:
            return True
        if end != "bias" or f"{stem}.weight" not in self._names:
            return False
        bias = self._inner.load_tensor(name)
        return isinstance(bias, torch.Tensor) and not bool(bias.any())


def _matrices(inner: SizedLoader, method: Method) -> Iterator[tuple[str, _Packed]]:
    """Each packed matrix, by the name that it would have if it were plain."""
    there = set(inner.tensor_names())
    stems = {name.removesuffix(f".{end}") for end in method.marks for name in there if name.endswith(f".{end}")}
    ends = (*method.marks, *method.others)
    for stem in sorted(stems):
        found = {part: end for end in ends if (part := f"{stem}.{end}") in there}
        yield f"{stem}.weight", _Packed(stem, found)
    if "weight_scale_inv" in method.marks:
        for stem in sorted(name for name in there if f"{name}_scale_inv" in there and not name.endswith(".weight")):
            yield from _experts(inner, stem)


def _experts(inner: SizedLoader, stem: str) -> Iterator[tuple[str, _Packed]]:
    every = {stem: "weight", f"{stem}_scale_inv": "weight_scale_inv", f"{stem}_activation_scale": "activation_scale"}
    ends = {name: end for name, end in every.items() if inner.has_tensor(name)}
    shapes = [tuple(inner.load_tensor(name).shape) for name in ends]
    if len(shapes[0]) != 3 or any(shape[:1] != shapes[0][:1] for shape in shapes):
        raise WeightsError(f"{stem} and its scales are no stacks of as many matrices: {shapes}", misshapen=[stem])
    for expert in range(shapes[0][0]):
        yield f"{stem}.{expert}", _Packed(f"{stem}.{expert}", ends, expert)
