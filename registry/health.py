"""Whether the store, the memory and the network are fit for work: findings, each with a next step where one is needed.

Nothing is changed, nothing is read but names and manifests, and whoever is asked has a few seconds for an answer.
"""

import errno
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from .aliases import Catalogue
from .amounts import bytes_text
from .errors import RegistryError
from .memory import available_memory, group_limit, swap_memory, total_memory
from .prune import find_unused
from .settings import RegistrySettings
from .shelf import Shelf
from .sources.reach import why_unreachable
from .store import free_space

State: TypeAlias = Literal["ok", "warn", "fail"]
_LITTLE_DISK = 10 * 10**9
_LITTLE_MEMORY = 10**9
_PATIENCE = 3.0
_INDEX = "https://pypi.org/simple/"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one thing: `warn` is in the way of something, `fail` is broken; `next_step` mends it."""

    name: str
    state: State
    told: str
    next_step: str | None = None


def store_findings(settings: RegistrySettings) -> Iterator[Finding]:
    """The folders, their disk, and the models in them."""
    for name, folder in (("store", settings.home), ("hub cache", settings.cache_dir)):
        yield _writable(name, folder)
    yield _disk(settings)
    try:
        yield from _models(settings)
        yield _leftovers(settings)
    except OSError as error:
        yield Finding(
            "models", "fail", f"{settings.home} cannot be read: {error.strerror}", "give yourself access to it"
        )
    yield _aliases(settings)


def memory_findings() -> Iterator[Finding]:
    total, left, limit = total_memory(), available_memory(), group_limit()
    limited = " that the container may have" if limit is not None and limit <= total else ""
    told = f"{bytes_text(max(left, 0))} of {bytes_text(total)}{limited} are free"
    if left < _LITTLE_MEMORY:
        yield Finding("memory", "warn", told, "close other programs, or run smaller models")
    else:
        yield Finding("memory", "ok", told)
    used, swap = swap_memory()
    if swap and used > swap // 2:
        told = f"{bytes_text(used)} of {bytes_text(swap)} of swap are in use: what is there is slow"
        yield Finding("swap", "warn", told, "close other programs, or run smaller models")


def network_findings(settings: RegistrySettings) -> Iterator[Finding]:
    """Whether the sources answer; all are asked at once."""
    if settings.offline:
        yield Finding("network", "ok", "offline mode: nobody is asked")
        return
    mend = "check the connection and the proxy settings; models that are here run without it"
    places = {"hub": settings.endpoint, "package index": _INDEX}
    with ThreadPoolExecutor(len(places)) as threads:
        asked = [
            (name, place, threads.submit(why_unreachable, place, min(_PATIENCE, settings.patience)))
            for name, place in places.items()
        ]
    for name, place, answer in asked:
        if reason := answer.result():
            yield Finding(name, "warn", f"{place} is out of reach: {reason}", mend)
        else:
            yield Finding(name, "ok", f"{place} answers")


def _writable(name: str, folder: Path) -> Finding:
    """Tried with a file that goes at once, in the folder, or where the folder will be made."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    mend = "choose another folder with UNILLM_HOME" if name == "store" else "choose another folder with HF_HOME"
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".unillm-Doctor-") as probe:
            made = Path(probe.name)
            blind = made.with_name(made.name.swapcase()).exists()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return Finding(name, "fail", f"{there}: the disk is full", "make room, or " + mend)
        return Finding(name, "fail", f"{there} cannot be written: {error.strerror}", mend)
    case = "; its disk does not tell capitals from small letters" if blind else ""
    return Finding(name, "ok", f"{folder} can be written{case}")


def _disk(settings: RegistrySettings) -> Finding:
    free = {folder: free_space(folder) for folder in (settings.home, settings.cache_dir)}
    folder = min(free, key=lambda one: free[one])
    told = f"{bytes_text(free[folder])} free at {folder}"
    if free[folder] < _LITTLE_DISK:
        return Finding("disk", "warn", told, "make room: unillm prune --partial, unillm rm MODEL")
    return Finding("disk", "ok", told)


def _models(settings: RegistrySettings) -> Iterator[Finding]:
    """Each model that would not run, and the others in one line."""
    sound = 0
    for entry in Shelf(settings).entries():
        try:
            entry.check()
        except RegistryError as error:
            yield Finding(entry.name, "fail", str(error), error.hint or f"fetch it again: unillm pull {entry.name}")
        else:
            sound += 1
    told = f"{sound} of them {'is' if sound == 1 else 'are'} whole" if sound else "there are none yet"
    yield Finding("models", "ok", told, None if sound else "unillm pull smollm2:135m")


def _leftovers(settings: RegistrySettings) -> Finding:
    unused = find_unused(settings, partial=True)
    if not unused.files:
        return Finding("leftovers", "ok", "no files that belong to no model")
    told = f"{len(unused.files)} files, {bytes_text(unused.size)}, belong to no model"
    return Finding("leftovers", "warn", told, "unillm prune --partial removes them, if no pull is to go on with them")


def _aliases(settings: RegistrySettings) -> Finding:
    try:
        Catalogue.read(settings.aliases)
    except RegistryError as error:
        return Finding("aliases", "fail", str(error), f"mend {settings.aliases}")
    own = f", with your own from {settings.aliases}" if os.path.lexists(settings.aliases) else ""
    return Finding("aliases", "ok", f"the catalogue can be read{own}")
