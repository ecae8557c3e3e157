"""How much memory keys and values may come to take, of what a device has left.

Where memory is had bit by bit a plan takes nothing: it only says where growing ends. On a GPU that is where a step of
the largest size would have no room any more; what others allocate later is theirs, and growing ends sooner.
"""

from math import prod
from typing import Final

import torch
from torch import Tensor

from ..models.contract import Model, Weight
from ..models.ops.table import kind_of
from ..models.quantized import TILED
from .ahead.graphs import MOST_KEPT
from .device import available_memory
from .kv.memory import grows
from .options import EngineOptions

_BESIDE: Final = 8  # intermediate results as wide as the widest product that are there at once
_CHOOSING: Final = 32  # bytes for each score that is chosen from: itself in fp32, sorted, summed, and their places
_GRAPH: Final = 8 << 20  # bytes that a recorded step takes beside its intermediate results
_SWAPPED: Final = 4  # one part in so many of the cache, and of the host's memory
_HOST: Final = torch.device("cpu")
_UNCOUNTED: Final = 16  # one part in so many is left to libraries, and to gaps


def cache_memory(model: Model, options: EngineOptions) -> int:
    """Bytes that the cache may grow to: all of a shared budget, where memory can be had bit by bit."""
    budget = options.budget
    if budget is None:
        return options.kv_memory or memory_left(model, options)
    offered = budget.size if grows(model.place.device) else budget.left
    return min(options.kv_memory or offered, offered)


def memory_left(model: Model, options: EngineOptions) -> int:
    """Half of what the device has left. Weights that are mapped from files will still need their share of it; packed
    ones have had theirs. All of it but what steps need, where a GPU's memory is had bit by bit.
    """
    device = model.place.device
    free = available_memory(device)
    if device.type == "cpu":
        free -= sum(weight.nbytes for weight in model.weights() if kind_of(weight) != TILED)
    elif grows(device):
        return max(free - free // _UNCOUNTED - step_memory(model, options), 0)
    return max(free, 0) // 2


def swap_memory(device: torch.device, cache: int) -> int:
    """Bytes of pages of who gave way that may be kept beside a cache of `cache` bytes, while they wait. For a GPU they
    are pinned in the host's memory, of which others want some too.
    """
    most = cache // _SWAPPED
    return most if device.type == "cpu" else min(most, available_memory(_HOST) // _SWAPPED)


def step_memory(model: Model, options: EngineOptions) -> int:
    """Bytes that the largest step takes on a GPU beside weights and pages, rather too many than too few.

    Rows as wide as the widest matrix, and for those whose scores are wanted the whole vocabulary; a packed matrix that
    no kernel reads as it is, unpacked; with recorded steps what each of them keeps.
    """
    vocabulary: int = model.config.vocabulary
    itemsize = model.place.dtype.itemsize
    weights = list(model.weights())
    widest = max((_rows(weight) for weight in weights if _rows(weight) < vocabulary), default=0)
    unpacked = max((_count(weight) for weight in weights if not isinstance(weight, Tensor)), default=0) * 4
    rows = options.batch_tokens * widest * itemsize * _BESIDE
    scores = options.sequences * vocabulary * _CHOOSING
    graphs = MOST_KEPT * _GRAPH + rows if options.overlap and options.graphs else 0
    return rows + scores + unpacked + graphs


def _rows(weight: Weight) -> int:
    """How wide what it makes of a row is."""
    return weight.shape[-2:][0]


def _count(weight: Weight) -> int:
    """Numbers of one matrix: of several, as experts are, each is unpacked by itself."""
    return prod(weight.shape[-2:])
