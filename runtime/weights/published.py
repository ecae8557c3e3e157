"""Checkpoints whose matrices some other tool has packed: to a model, each is one weight under its plain name.

Knows names and which tensors belong together; what they mean is for `models/published` to say.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch

from ...models.contract import Part, Weight, WeightMetadata
from ...models.published.methods import PASSED_BY, Method, without_method
from ...models.published.stored import Stored
from .sized import SizedLoader


class PublishedWeights:
    """`inner` with the tensors of each packed matrix seen as one."""

    def __init__(self, inner: SizedLoader, method: Method) -> None:
        self._inner, self._method = inner, method
        self._metadata = replace(inner.metadata, config=without_method(inner.metadata.config))
        self._names: dict[str, list[str]] = _by_matrix(inner.tensor_names(), method)
        self._parts = {part for parts in self._names.values() for part in parts}

    @property
    def metadata(self) -> WeightMetadata:
        return self._metadata

    @property
    def nbytes(self) -> int:
        return self._inner.nbytes

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
        stem = name.removesuffix(".weight")
        found = {each.removeprefix(f"{stem}."): self._inner.load_tensor(each) for each in self._names[name]}
        weight = self._method.read(
            Stored(stem, {end: one for end, one in found.items() if isinstance(one, torch.Tensor)})
        )
        return weight if part is None else weight.part(part)

    def release(self, name: str) -> None:
        for each in self._names.get(name, [name]):
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


def _by_matrix(names: Iterable[str], method: Method) -> dict[str, list[str]]:
    """The tensors of each packed matrix, by the name that it would have if it were plain."""
    there = set(names)
    stems = {name.removesuffix(f".{end}") for end in method.marks for name in there if name.endswith(f".{end}")}
    ends = (*method.marks, *method.others)
    return {f"{stem}.weight": [part for end in ends if (part := f"{stem}.{end}") in there] for stem in sorted(stems)}
