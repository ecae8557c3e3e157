"""A model and what it needs to run: a cache as large as memory allows, and the wheel that turns over both."""

from ..models.contract import Model
from ..models.ops.table import kind_of
from ..models.quantized import TILED
from .device import available_memory
from .kv.groups import windows_of
from .kv.pages import PageCache
from .kv.pool import KVPool, PageLayout
from .kv.sizing import plan_room
from .options import EngineOptions
from .runner import Runner
from .scheduler import Scheduler
from .wheel import Wheel


def assemble(model: Model, options: EngineOptions) -> tuple[Wheel, int]:
    """A wheel for `model` with a cache of its own, and the context that this cache holds."""
    layout = PageLayout.of(model.cache_spec(), options.page_size, model.place.dtype)
    windows = windows_of(layout.groups)
    room = plan_room(
        page_bytes=layout.page_bytes,
        page_size=options.page_size,
        memory=options.kv_memory or _memory_left(model),
        trained=model.config.context,
        context=options.context,
        sequences=options.sequences,
        windows=windows,
    )
    cache = PageCache(room.pages, options.page_size, windows=windows, sharing=options.prefix_cache)
    scheduler = Scheduler(cache, batch_tokens=options.batch_tokens, sequences=options.sequences)
    pool = KVPool(layout, room.pages, model.place.device)
    runner = Runner(model, pool, sequences=options.sequences, context=room.context)
    return Wheel(scheduler, runner), room.context


def _memory_left(model: Model) -> int:
    """Half of what the device has left. Weights that are mapped from files will still need their share of it; packed
    ones have had theirs.
    """
    free = available_memory(model.place.device)
    if model.place.device.type == "cpu":
        free -= sum(weight.nbytes for weight in model.weights() if kind_of(weight) != TILED)
    return max(free, 0) // 2
