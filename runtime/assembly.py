"""A model and what it needs to run: a cache as large as memory allows, and the wheel that turns over both."""

from dataclasses import replace

import torch

from ..models.contract import Model
from ..models.ops.table import kind_of
from ..models.quantized import TILED
from .ahead.device import late_device
from .ahead.flights import Flights
from .ahead.graphs import CudaRecorder, Decodes
from .backends import open_backends, with_fitting_pages
from .device import choose_kv_dtype
from .kv.groups import windows_of
from .kv.pages import PageCache
from .kv.pool import KVPool, PageLayout
from .kv.sizing import Room, plan_room
from .kv.slabs import Slabs
from .kv.states import StatePool, plan_rows
from .kv.swap import Swap
from .options import EngineOptions
from .planning import cache_memory, memory_left, swap_memory
from .runner import Runner
from .scheduler import Scheduler
from .speculation.draft import DraftProposer
from .speculation.ngram import NgramProposer
from .wheel import Wheel


def assemble(model: Model, options: EngineOptions, draft: Model | None = None) -> tuple[Wheel, int]:
    """A wheel for `model` with a cache of its own, and the context that this cache holds.

    A `draft` gets as many pages as the model has, so that it runs what the model runs; less only where memory ends.
    """
    options = with_fitting_pages(options)
    memory = cache_memory(model, options)
    scheduler, runner, room = _over(model, options, memory)
    if draft is None:
        device = late_device(model.place.device) if options.overlap and not options.faults else None
        decodes = (
            Decodes(runner, CudaRecorder(runner.device), options.sequences)
            if device is not None and options.graphs
            else None
        )
        flights = None if device is None else Flights(device, runner, scheduler, decodes)
        return Wheel(scheduler, runner, NgramProposer() if options.draft == "ngram" else None, flights), room.context
    follows = replace(options, context=min(room.context, draft.config.context))
    memory = room.pages * _layout(draft, options).page_bytes
    memory = memory if options.kv_memory else min(memory, memory_left(draft, follows))
    mirrors, ahead, seen = _over(draft, follows, memory)
    proposer = DraftProposer(mirrors, ahead, context=seen.context, vocabulary=model.config.vocabulary)
    return Wheel(scheduler, runner, proposer), room.context


def _over(model: Model, options: EngineOptions, memory: int) -> tuple[Scheduler, Runner, Room]:
    """What runs `model` over pages in `memory` bytes, and how many these are."""
    if model.alone:
        options = replace(options, sequences=1)
    layout = _layout(model, options)
    windows = windows_of(layout.groups)
    states = _states(model, memory // 2 if layout.layers else memory, options.sequences)
    room = plan_room(
        page_bytes=layout.page_bytes,
        page_size=options.page_size,
        memory=memory - (states.nbytes if layout.layers else 0),
        trained=model.config.context,
        context=options.context,
        sequences=options.sequences,
        windows=windows,
    )
    pool = KVPool(layout, room.pages, model.place.device)
    slabs = Slabs(room.pages, pool.slab_pages, page_bytes=layout.page_bytes, budget=options.budget, ground=pool)
    cache = PageCache(slabs, options.page_size, windows=windows, sharing=options.prefix_cache, state_rows=states.rows)
    kept = swap_memory(model.place.device, room.pages * layout.page_bytes)
    swap = None if states.rows else Swap(pool, options.page_size, kept)
    scheduler = Scheduler(cache, batch_tokens=options.batch_tokens, sequences=options.sequences, swap=swap)
    runner = Runner(
        model,
        pool,
        sequences=options.sequences,
        context=room.context,
        states=states if states.rows else None,
        attention=open_backends(options.attention_backend, model, layout.dtype),
    )
    return scheduler, runner, room


def _states(model: Model, memory: int, sequences: int) -> StatePool:
    """Rows for the states of recurrent layers, in `memory` bytes; none for a model that has no such layers."""
    layers = model.cache_spec().recurrent
    return StatePool(layers, plan_rows(layers, memory, sequences), model.place.device)


def _layout(model: Model, options: EngineOptions) -> PageLayout:
    fitting = torch.bfloat16 if _rounds(model) else model.place.dtype
    dtype = choose_kv_dtype(options.kv_dtype, fitting, model.place.device)
    return PageLayout.of(model.cache_spec(), options.page_size, dtype)


def _rounds(model: Model) -> bool:
    """Whether products round activations to 8 bits. Beside that bf16 keys and values cost no accuracy worth the name
    (measured: a thirtieth of the divergence), and attention reads half the bytes.
    """
    kernels = model.place.kernels
    return kernels is not None and not kernels.exact and any(kind_of(weight) == TILED for weight in model.weights())
