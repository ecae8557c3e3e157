"""What a model's files say that decides how a request to it is read: its chat template, and whether it thinks.

Looked up in a thread, and remembered for some seconds: a chat need not read the files once a turn.
"""

import asyncio
import re
from dataclasses import dataclass
from time import monotonic

from ....registry.errors import RegistryError
from ...hosting.asking import HostError
from ...hosting.faults import fault_of
from ...text.template_files import stored_templates
from ..catalogue import Catalogue

_FRESH = 5.0  # seconds
_MOST = 256  # names
_THINKS = re.compile(r"</?think>|enable_thinking")


@dataclass(frozen=True, slots=True)
class Known:
    """The model's chat template, where it has one; `thinks`: it knows how to think before it speaks."""

    template: str | None = None

    @property
    def thinks(self) -> bool:
        return self.template is not None and _THINKS.search(self.template) is not None


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
    files = catalogue.files(name)
    return Known(files.template if files.template is not None else stored_templates(files).get("default"))
