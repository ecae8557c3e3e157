"""`quantize` of /api/create: what the model is made from, in fewer bits, as a file of the store."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock

from ....registry.create import files_of, own_name
from ....registry.making import keep, workplace
from ....registry.manifest import ArchiveOrigin, Manifest
from ....registry.settings import RegistrySettings
from ....registry.uploads import manifest_of_uploads
from ...hosting.asking import Fault, HostError
from ...hosting.quantizing import quantize
from ...quantizing.mixtures import MIXTURES
from ..endpoint import invalid
from .results import Status
from .working import Telling

_SHORT = {"q4_k": "q4_k_m", "q5_k": "q5_k_m"}  # as Ollama calls them too
QUANTIZING = Fault("busy", "another model is being quantised", "ask again later", field="quantize", retry_after=60.0)
_MARK = "0000000000000000000"  # the digest of what has none yet: Ollama's clients draw a bar for a digest


@contextmanager
def one_at_a_time(lock: Lock) -> Iterator[None]:
    """Held while a model is quantised, which takes all cores. Raises `HostError` where another one is."""
    if not lock.acquire(blocking=False):
        raise HostError(QUANTIZING)
    try:
        yield
    finally:
        lock.release()


def mixture_of(asked: str | None) -> str | None:
    """The mixture that is meant; None where none is. Raises `Refused`."""
    if not asked:
        return None
    mixture = _SHORT.get(asked.lower(), asked.lower())
    if mixture not in MIXTURES:
        known = ", ".join(name.upper() for name in MIXTURES)
        raise invalid("quantize", f"unsupported quantization type {asked[:40]!r}: quantize must be one of {known}")
    return mixture


def quantized(name: str, base: Manifest, mixture: str, settings: RegistrySettings, telling: Telling) -> Manifest:
    """What a model called `name` would be that is `base` in fewer bits. Raises `HostError` and `RegistryError`."""
    label = mixture.upper()
    status = f"quantizing {base.details.quantisation or base.format} model to {label}"
    with workplace(settings) as folder:
        target = folder / f"{_stem(name, settings)}-{label}.gguf"
        quantize(
            files_of(base, settings),
            mixture,
            target,
            lambda done, total: telling.progress(status, _MARK, done, total or None),
        )
        digest = keep(target, settings)
        telling.tell(Status(status=f"creating new layer {digest}"))
        made = manifest_of_uploads(name, {target.name: digest}, settings)
    origin = ArchiveOrigin(f"{base.ref} in {label}")
    return replace(made.with_additions_of(base), origin=origin, reason="it was quantised here", licence=base.licence)


def _stem(name: str, settings: RegistrySettings) -> str:
    """A model's name as a file may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", str(own_name(name, settings)))
