"""What can be had instead, when a model cannot: said beside the error, never done."""

from .aliases import Catalogue
from .errors import NotFetched, OfflineMode, RegistryError, SourceUnreachable
from .settings import RegistrySettings
from .shelf import Shelf


def with_alternative(error: RegistryError, catalogue: Catalogue, settings: RegistrySettings) -> RegistryError:
    """`error`, its hint telling what is on this machine, or what another source than the hub has."""
    unreachable = isinstance(error, SourceUnreachable | NotFetched)
    elsewhere = _elsewhere(catalogue) if unreachable else _here(settings) if isinstance(error, OfflineMode) else None
    if elsewhere:
        error.hint = f"{error.hint}; {elsewhere}" if error.hint else elsewhere
    return error


def _elsewhere(catalogue: Catalogue) -> str | None:
    rows = [row for row in catalogue if row.sources]
    if not rows:
        return None
    lightest = min(rows, key=lambda row: sum(one.size for one in row.sources[0].files)).ref
    return f"{lightest} can be had from the package index: unillm pull {lightest}"


def _here(settings: RegistrySettings) -> str | None:
    names = [entry.name for entry in Shelf(settings).entries() if entry.manifest]
    return f"on this machine: {', '.join(names[:5])}" if names else None
