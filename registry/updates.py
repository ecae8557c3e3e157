"""Which installed models their source has in a newer version by now."""

from dataclasses import dataclass

from .aliases import Catalogue
from .errors import RegistryError
from .events import Listener, nobody
from .manifest import HubOrigin, RegistryOrigin
from .names import Kind
from .pull import plan
from .settings import RegistrySettings
from .shelf import Entry


@dataclass(frozen=True, slots=True)
class Update:
    """What the source says of one model.

    `newer` is the commit, or the checksum of the manifest, that it has now; `error` is why it does not say.
    """

    entry: Entry
    newer: str | None = None
    error: RegistryError | None = None


def is_updatable(entry: Entry, catalogue: Catalogue) -> bool:
    """Whether its name leads to a source: one of the user's own making has none."""
    if entry.manifest is None or not isinstance(entry.manifest.origin, HubOrigin | RegistryOrigin):
        return False
    ref = entry.manifest.ref
    return ref.kind in (Kind.REPO, Kind.REGISTRY) or catalogue.find(ref) is not None


def find_update(entry: Entry, settings: RegistrySettings, listener: Listener = nobody) -> Update:
    """Ask the source of one model. Nothing is fetched."""
    try:
        planned = plan(entry.sound.ref, settings, listener)
    except RegistryError as error:
        return Update(entry, error=error)
    if str(planned.origin) == str(entry.sound.origin):
        return Update(entry)
    match planned.origin:
        case HubOrigin(commit=newer):
            return Update(entry, newer=newer)
        case RegistryOrigin(manifest=newer):
            return Update(entry, newer=newer.hex)
    return Update(entry)
