"""What is installed under a name, or under another name for the same; else the error that says so. Asks no source."""

from .aliases import Catalogue
from .errors import NotInstalled
from .names import Kind, ModelRef
from .settings import RegistrySettings
from .shelf import Entry, Shelf


def find_installed(ref: ModelRef, shelf: Shelf, settings: RegistrySettings) -> Entry | None:
    """The shelf's model of that name, or of another name for the same row of the catalogue."""
    if entry := shelf.find(ref):
        return entry
    catalogue = Catalogue.read(settings.aliases)
    if entry := shelf.find(catalogue.canonical(ref)):
        return entry
    match = catalogue.find(ref)
    return shelf.find(match.row.ref) if match and match.wanted.quant is None else None


def not_installed(text: str, shelf: Shelf, settings: RegistrySettings) -> NotInstalled:
    """The error for a name that the shelf does not have: how to fetch it, or what the user may have meant."""
    ref, catalogue = ModelRef.parse(text), Catalogue.read(settings.aliases)
    known = ref.kind in (Kind.REPO, Kind.REGISTRY) or catalogue.find(ref) is not None
    return NotInstalled(text, [] if known else near_names(text, shelf, settings), known=known)


def near_names(text: str, shelf: Shelf, settings: RegistrySettings) -> list[str]:
    """Names of models that are here, or in the catalogue, which the user may have meant."""
    return Catalogue.read(settings.aliases).near(
        text, tuple(entry.name.removesuffix(":latest") for entry in shelf.entries())
    )
