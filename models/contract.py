"""What a model promises the runtime, and what it may ask of it.

A model is a config, a forward pass and its checkpoint names. It knows neither text nor requests, and never asks which
device it is on: everything a forward pass may know of its surroundings is one `Batch`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .quantized import QuantizedTensor

if TYPE_CHECKING:
    from .ops.cpu.kernels import Kernels

Weight: TypeAlias = Tensor | QuantizedTensor
Kept: TypeAlias = tuple[Tensor, Tensor] | dict[str, Tensor]  # what a layer keeps of one sequence
Format: TypeAlias = Literal["safetensors", "gguf", "pytorch"]


class Task(StrEnum):
    """What a model is for."""

    GENERATE = "generate"


class Collective(Protocol):
    """What ranks that compute one model together do with their shares. Every rank gets the same result."""

    def sum(self, share: Tensor) -> Tensor: ...
    def gather(self, share: Tensor) -> Tensor:
        """The shares of all ranks side by side, along the last dimension."""
        ...


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model lives and what it computes in. `dtype` is that of activations; weights stay as stored.

    With `world` ranks each loads its part of the weights, and `collective` joins what they compute. `kernels` compute
    on a CPU what they can; without them, and elsewhere, everything is plain torch. `quantize` says of a plain matrix,
    by its name and shape, in which kind of blocks it is packed as it is loaded; None: in none.
    """

    device: torch.device
    dtype: torch.dtype
    rank: int = 0
    world: int = 1
    collective: Collective | None = None
    kernels: "Kernels | None" = None
    quantize: Callable[[str, tuple[int, ...]], str | None] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The slice `start:stop` of a stored tensor along `dim`; block-aligned where the tensor is packed."""

    dim: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class WeightMetadata:
    """What a checkpoint says of itself.

    `architecture` is the entry of config.json's `architectures`, or GGUF's `general.architecture`; `config` holds
    config.json's keys, or the GGUF's key-values (without the tokenizer's arrays).
    """

    format: Format
    architecture: str
    config: Mapping[str, Any]


class WeightLoader(Protocol):
    """One protocol for three formats. Names are those of the file."""

    @property
    def metadata(self) -> WeightMetadata: ...
    def tensor_names(self) -> list[str]: ...
    def has_tensor(self, name: str) -> bool: ...
    def load_tensor(self, name: str, part: Part | None = None) -> Weight:
        """A view of the mapped file, never a copy where the format allows it. `WeightsError` for an unknown name."""
        ...

    def release(self, name: str) -> None:
        """A copy has been made of this tensor: memory that it holds may be given back."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class AttentionSpec:
    """What one layer's attention computes, beyond its inputs.

    `scale` multiplies q·k; `window` lets a token see itself and the `window - 1` before it, `chunk` those of its own
    chunk of so many, up to itself; `softcap` bounds scores by tanh; `sinks` [heads] and `alibi` slopes [heads] are
    tensors of the model.
    """

    scale: float
    window: int | None = None
    softcap: float | None = None
    sinks: Tensor | None = None
    alibi: Tensor | None = None
    causal: bool = True
    chunk: int | None = None


@dataclass(frozen=True, slots=True)
class PagedLayer:
    """A layer that keeps keys and values of every token, or of the last `window` tokens."""

    kv_heads: int
    head_dim: int
    window: int | None = None


@dataclass(frozen=True, slots=True)
class LatentLayer(PagedLayer):
    """A layer that keeps one vector of every token, from which all its heads take keys and values: its keys are its
    values, and its view has the same tensor for both.
    """


@dataclass(frozen=True, slots=True)
class StateTensor:
    """A part of a recurrent layer's state: its shape for one sequence."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True, slots=True)
class StateLayer:
    """A layer that keeps a state of fixed size, whatever the length: tensors by name."""

    tensors: Mapping[str, StateTensor]

    @property
    def nbytes(self) -> int:
        return sum(prod(tensor.shape) * tensor.dtype.itemsize for tensor in self.tensors.values())


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """What each layer keeps of a sequence, in layer order."""

    layers: tuple[PagedLayer | StateLayer, ...]

    @property
    def paged(self) -> tuple[PagedLayer, ...]:
        return tuple(layer for layer in self.layers if isinstance(layer, PagedLayer))

    @property
    def recurrent(self) -> tuple[StateLayer, ...]:
        return tuple(layer for layer in self.layers if isinstance(layer, StateLayer))


@dataclass(frozen=True, slots=True, eq=False)
class PagedView:
    """One layer's pages, as one step sees them.

    `table` names the pages of each sequence in order; `slots` says where each new token's key and value go, as
    page * page_size + offset.
    """

    keys: Tensor  # [pages, page_size, kv_heads, head_dim]
    values: Tensor  # [pages, page_size, kv_heads, head_dim]
    table: Tensor  # [sequences, most pages of one] int32
    slots: Tensor  # [tokens] int64
    key_scales: Tensor | None = None  # [pages, page_size, kv_heads] fp32: of int8 pages, what their numbers are times
    value_scales: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StateView:
    """One recurrent layer's states, as one step sees them.

    A sequence's state before the step is in row `sources`, after it in row `targets`, which may be the same; where
    `fresh` says so the sequence begins, from zeros, and nothing in its source row counts. So a step that is computed
    again finds what it found before.
    """

    tensors: Mapping[str, Tensor]  # [rows, *shape]
    sources: Tensor  # [sequences] int64
    targets: Tensor  # [sequences] int64
    fresh: Tensor  # [sequences] bool

    def read(self, name: str, sequences: slice) -> Tensor:
        """The states of some sequences, a copy."""
        states, fresh = self.tensors[name].index_select(0, self.sources[sequences]), self.fresh[sequences]
        return states.masked_fill_(fresh.view(-1, *[1] * (states.dim() - 1)), 0)

    def write(self, name: str, sequences: slice, states: Tensor) -> None:
        kept = self.tensors[name]
        kept.index_copy_(0, self.targets[sequences], states.to(kept.dtype))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The flat tokens of many sequences, one behind the other, and what a forward pass may know of them.

    `queries` and `contexts` are plain ints, so that no forward pass reads a tensor on the host: how many new tokens a
    sequence brings, and how many tokens it has once they are in.
    """

    ids: Tensor  # [tokens] int64
    positions: Tensor  # [tokens] int64
    rows: Tensor  # [rows] int64: which tokens' logits are wanted
    queries: tuple[int, ...]
    contexts: tuple[int, ...]
    starts: Tensor  # [sequences + 1] int32: where each sequence's new tokens begin
    lengths: Tensor  # [sequences] int32: `contexts`, on the device
    cache: Sequence[Any]  # of each layer its PagedView or StateView
    attention: Callable[..., Tensor] | None = None  # attends instead of what the device has


@runtime_checkable
class Weighted(Protocol):
    """A layer that holds weights itself, beside those of the layers inside it."""

    def own_weights(self) -> Iterator[Weight]: ...


@runtime_checkable
class Caching(Protocol):
    """A layer that keeps something of every sequence."""

    def cache_layer(self) -> PagedLayer | StateLayer: ...


class Model(nn.Module, ABC):
    """One architecture. A container only: no training, no hooks, no state_dict."""

    task: ClassVar[Task] = Task.GENERATE

    config: Any
    place: Placement
    note: str | None = None  # what whoever loads it should be told
    alone: bool = False  # whether it is made to compute one sequence at a time

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Hidden states [tokens, hidden] after the last norm."""

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Scores [rows, vocabulary] of the next token, fp32."""

    def cache_spec(self) -> CacheSpec:
        """What the layers inside keep, in their order."""
        return CacheSpec(tuple(module.cache_layer() for module in self.modules() if isinstance(module, Caching)))

    def weights(self) -> Iterator[Weight]:
        """Every weight once, for sizing and moving."""
        for module in self.modules():
            if isinstance(module, Weighted):
                yield from module.own_weights()

    @torch.inference_mode()
    def generate(self, ids: Sequence[int], max_tokens: int, end: Collection[int] = ()) -> list[int]:
        """The greedy continuation, by a plain loop over a cache of one page a layer; no runtime.

        The token of `end` that stops it is the last one of the answer.
        """
        cache = contiguous_cache(self.cache_spec(), len(ids) + max_tokens, self.place)
        answer: list[int] = []
        fresh, done = list(ids), 0
        while len(answer) < max_tokens and not (answer and answer[-1] in end):
            batch = one_sequence(fresh, done, cache, self.place.device)
            scores = self.logits(self.forward(batch)[batch.rows])
            fresh, done = [int(scores[0].argmax())], done + len(fresh)
            answer += fresh
        return answer


class Loadable(Model):
    """A model that is made of a checkpoint: what a line of the table leads to."""

    Config: ClassVar[type[ModelConfig]]

    @classmethod
    @abstractmethod
    def load(cls, weights: WeightLoader, config: Any, place: Placement) -> Self:
        """Raises `WeightsError` unless the checkpoint has the architecture's tensors and no others."""


def contiguous_cache(spec: CacheSpec, tokens: int, place: Placement) -> list[Kept]:
    """Of every layer keys and values, one page of so many tokens, or a row of each of its states."""
    return [_kept(layer, tokens, place) for layer in spec.layers]


def _kept(layer: PagedLayer | StateLayer, tokens: int, place: Placement) -> Kept:
    if isinstance(layer, StateLayer):
        return state_rows(layer, 1, place.device)
    kinds = 1 if isinstance(layer, LatentLayer) else 2
    kept = torch.zeros(kinds, 1, tokens, layer.kv_heads, layer.head_dim, dtype=place.dtype, device=place.device)
    return kept[0], kept[-1]


def state_rows(layer: StateLayer, rows: int, device: torch.device) -> dict[str, Tensor]:
    """Room for so many states of one layer."""
    return {
        name: torch.zeros(rows, *tensor.shape, dtype=tensor.dtype, device=device)
        for name, tensor in layer.tensors.items()
    }


def one_sequence(ids: Sequence[int], done: int, cache: Sequence[Kept], device: torch.device) -> Batch:
    """The batch of one sequence alone, of which `done` tokens are in the cache; the last token's row is wanted."""
    count = len(ids)
    positions = torch.arange(done, done + count, device=device)
    table = torch.zeros(1, 1, dtype=torch.int32, device=device)
    row, fresh = torch.zeros(1, dtype=torch.int64, device=device), torch.full((1,), not done, device=device)
    return Batch(
        ids=torch.tensor(ids, device=device),
        positions=positions,
        rows=torch.tensor([count - 1], device=device),
        queries=(count,),
        contexts=(done + count,),
        starts=torch.tensor([0, count], dtype=torch.int32, device=device),
        lengths=torch.tensor([done + count], dtype=torch.int32, device=device),
        cache=[
            StateView(kept, row, row, fresh) if isinstance(kept, dict) else PagedView(*kept, table, positions)
            for kept in cache
        ],
    )
