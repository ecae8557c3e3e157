"""What a model's files say that decides how a request to it is read: its chat template, and what that knows.

Looked up in a thread, and remembered for some seconds: a chat need not read the files once a turn.
"""

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import Self

from ...registry.errors import RegistryError
from ...registry.files import ModelFiles
from ..hosting.asking import HostError
from ..hosting.faults import fault_of
from ..text.abilities import Abilities
from ..text.template_files import templates_of
from .catalogue import Catalogue

_FRESH = 5.0  # seconds
_MOST = 256  # names
THINKS_NOT = "does not think before it speaks"


@dataclass(frozen=True, slots=True)
class Known:
    """The model's chat template, where it has one, and what that shows that the model can."""

    template: str | None = None
    abilities: Abilities = field(default_factory=Abilities)

    @classmethod
    def of(cls, files: ModelFiles) -> Self:
        sources = templates_of(files)
        return cls(sources.get("default"), Abilities.shown_by(sources, files.name))

    @property
    def thinks(self) -> bool:
        return self.abilities.thinking


async def known_of(catalogue: Catalogue, name: str) -> Known:
    """What is known of the model that is called so. Raises `HostError` for a name that is none."""
    remembered: dict[str, tuple[float, Known]] = catalogue.remembered
    at, known = remembered.get(name, (float("-inf"), Known()))
    if monotonic() - at < _FRESH:
        return known
    try:
        known = await asyncio.to_thread(_read, catalogue, name)
    except RegistryError as error:
        raise HostError(fault_of(error)) from error
    if len(remembered) >= _MOST:
        remembered.clear()
    remembered[name] = monotonic(), known
    return known


def forget(catalogue: Catalogue) -> None:
    """The shelf has changed."""
    catalogue.remembered.clear()


def _read(catalogue: Catalogue, name: str) -> Known:
    return Known.of(catalogue.files(name))
