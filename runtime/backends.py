"""The attention that somebody chose by name, or why this model, cache or machine cannot have it."""

from collections.abc import Iterator
from dataclasses import replace
from math import lcm
from typing import Final

import torch

from ..models.contract import AttentionSpec, Model
from ..models.ops.backends import BACKENDS, Backend, Phases, missing
from ..models.parts.attention import Attention
from ..models.parts.mla import MLA
from .attention import read_backends
from .errors import BackendRefused
from .options import EngineOptions

_PACKAGES: Final = {"triton": "triton", "flash-attn": "flash-attn", "flashinfer": "flashinfer-python"}
_PHASES: Final = ("prompts", "single tokens")


def with_fitting_pages(options: EngineOptions) -> EngineOptions:
    """`options` with pages that the chosen backends can read: as large as was said, or the next size that they take."""
    names = read_backends(options.attention_backend)
    if names is None:
        return options
    grain = lcm(*(BACKENDS[name].page_grain for name in names))
    return replace(options, page_size=-(-options.page_size // grain) * grain)


def open_backends(text: str, model: Model, pages: torch.dtype) -> Phases | None:
    """What attends in `model` over pages of that dtype; None: what the device has. Raises `BackendRefused`."""
    names = read_backends(text)
    if names is None:
        return None
    opened: dict[str, Backend] = {}
    for name, phase in zip(names, _PHASES, strict=True):
        if name not in opened:
            opened[name] = _opened(name, phase)
        for spec, head_dim in _layers(model):
            why = opened[name].refuses(spec, head_dim, pages, model.place.device)
            if why is not None:
                raise BackendRefused(name, phase, why)
    return Phases(opened[names[0]], opened[names[1]])


def _opened(name: str, phase: str) -> Backend:
    if missing(name) is not None:
        raise BackendRefused(name, phase, "it is not installed", f"pip install {_PACKAGES[name]}")
    try:
        return BACKENDS[name]()
    except ImportError as error:
        raise BackendRefused(
            name, phase, f"it cannot be imported: {error}", f"pip install {_PACKAGES[name]}"
        ) from error


def _layers(model: Model) -> Iterator[tuple[AttentionSpec, int]]:
    """How each layer attends, and over heads how wide; of foreign classes the width is all that is known."""
    yield from ((AttentionSpec(1.0), layer.head_dim) for layer in model.cache_spec().paged)
    for module in model.modules():
        if isinstance(module, Attention | MLA):
            yield module.spec, module.cache_layer().head_dim
