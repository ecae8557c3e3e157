"""An engine's choices one by one: `Engine.builder().model("llama3:8b").device("cuda:0").build()`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Self, TypeVar

from ..registry.events import Listener
from ..registry.files import ModelFiles
from .errors import InvalidParameter
from .faults import Fault
from .kv.budget import MemoryBudget
from .kv.pages import Sharing
from .options import EngineOptions

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class EngineBuilder(Generic[Made]):
    """Every call gives a new builder; `build` makes the engine. What is not said is as in `EngineOptions`."""

    make: Callable[[str | Path | ModelFiles, EngineOptions, Listener | None], Made]
    chosen: str | Path | ModelFiles | None = None
    options: EngineOptions = field(default_factory=EngineOptions)
    heard_by: Listener | None = None

    def model(self, model: str | Path | ModelFiles) -> Self:
        return replace(self, chosen=model)

    def device(self, name: str) -> Self:
        return replace(self, options=replace(self.options, device=name))

    def dtype(self, name: str) -> Self:
        return replace(self, options=replace(self.options, dtype=name))

    def context(self, tokens: int) -> Self:
        return replace(self, options=replace(self.options, context=tokens))

    def threads(self, count: int) -> Self:
        return replace(self, options=replace(self.options, threads=count))

    def kv_memory(self, count: int) -> Self:
        return replace(self, options=replace(self.options, kv_memory=count))

    def kv_dtype(self, name: str) -> Self:
        return replace(self, options=replace(self.options, kv_dtype=name))

    def budget(self, budget: MemoryBudget) -> Self:
        return replace(self, options=replace(self.options, budget=budget))

    def batch(self, *, tokens: int, sequences: int) -> Self:
        return replace(self, options=replace(self.options, batch_tokens=tokens, sequences=sequences))

    def prefix_cache(self, sharing: Sharing) -> Self:
        return replace(self, options=replace(self.options, prefix_cache=sharing))

    def quantize(self, kind: str) -> Self:
        return replace(self, options=replace(self.options, quantize=kind))

    def exact(self, on: bool = True) -> Self:
        return replace(self, options=replace(self.options, exact=on))

    def draft(self, draft: str | Path | ModelFiles) -> Self:
        return replace(self, options=replace(self.options, draft=draft))

    def attention_backend(self, names: str) -> Self:
        return replace(self, options=replace(self.options, attention_backend=names))

    def faults(self, *faults: Fault) -> Self:
        return replace(self, options=replace(self.options, faults=faults))

    def listener(self, listener: Listener) -> Self:
        return replace(self, heard_by=listener)

    def build(self) -> Made:
        if self.chosen is None:
            raise InvalidParameter("model", None, "a model's name or folder: .model(...)")
        return self.make(self.chosen, self.options, self.heard_by)
