"""What a person can choose from: the models that are here and those with a short name, with sizes and what fits.

Sizes are those of the files. What a model needs is computed as the host does before it loads one.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from ....models.table import is_known
from ....registry.aliases import Catalogue as ShortNames
from ....registry.amounts import count_text
from ....registry.errors import RegistryError
from ....registry.rows import Row
from ....registry.settings import RegistrySettings
from ...hosting.asking import HostError, Resident
from ...hosting.faults import fault_of
from ...hosting.room import Need
from ..app import json_response
from ..endpoint import Server
from ..ollama.describing import Described, described

Fit = Literal["now", "alone", "never"]

_NO_CHAT = re.compile("embed|rerank|guard")  # in names of the catalogue: models that do not converse


class Choice(Struct, kw_only=True):
    """Sizes in bytes. `fits`: beside what is loaded, when that has gone, or never on this machine.

    `state` is there of a model that is loaded. `context`, in tokens, is what that was loaded with, or what another one
    was made for.
    """

    name: str
    size: int
    needs: int
    fits: Fit
    parameters: str = ""
    quantisation: str = ""
    architecture: str = ""
    state: str | None = None
    context: int | None = None


class Choices(Struct, kw_only=True):
    """`memory` bytes are for all models together, `free` of them reserved by none; `others` could be pulled."""

    memory: int
    free: int
    models: list[Choice]
    others: list[Choice]


async def choices(server: Server, _body: None, _request: Request) -> Response:
    residents = {one.name: one for one in await server.host.residents()}
    own = (await server.host.metrics())[""]
    memory = int(own["memory_bytes"])
    free = max(memory - int(own["memory_reserved_bytes"]), 0)
    try:
        there = await asyncio.to_thread(described, server.catalogue, residents)
        rows = await asyncio.to_thread(_short_names, server.catalogue.settings)
    except RegistryError as error:
        raise HostError(fault_of(error)) from error
    models = [_here(one, memory, free, residents) for one in there]
    others = list(_elsewhere(rows, {one.name for one in models}, memory, free))
    return json_response(Choices(memory=memory, free=free, models=models, others=others))


def _here(told: Described, memory: int, free: int, residents: Mapping[str, Resident]) -> Choice:
    loaded = residents.get(told.name)
    needs = loaded.size if loaded and loaded.state == "ready" else Need(told.size).least
    return Choice(
        name=told.name,
        size=told.size,
        needs=needs,
        fits="now" if loaded else _fit(needs, memory, free),
        parameters=count_text(told.details.parameters) if told.details.parameters else "",
        quantisation=told.details.quantisation or "",
        architecture=told.details.architecture or "",
        state=loaded.state if loaded else None,
        context=loaded.context if loaded and loaded.context else told.details.context,
    )


def _elsewhere(rows: Iterable[Row], here: set[str], memory: int, free: int) -> Iterable[Choice]:
    """Those that this program runs and that a pull can fetch, the smallest first."""
    sized = [(row.gguf_size or row.original_size or 0, row) for row in rows if not _NO_CHAT.search(row.name)]
    wanted = [(size, row) for size, row in sized if size and str(row.ref) not in here]
    for size, row in sorted(wanted, key=lambda one: one[0]):
        if row.architecture is None or not is_known(row.architecture, "safetensors"):
            continue
        needs = Need(size).least
        yield Choice(
            name=str(row.ref),
            size=size,
            needs=needs,
            fits=_fit(needs, memory, free),
            parameters=count_text(row.parameters) if row.parameters else "",
            quantisation=row.quant if row.gguf_size else "",
        )


def _fit(needs: int, memory: int, free: int) -> Fit:
    if needs <= free:
        return "now"
    return "alone" if needs <= memory else "never"


def _short_names(settings: RegistrySettings) -> list[Row]:
    return list(ShortNames.read(settings.aliases))
