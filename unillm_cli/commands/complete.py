"""`unillm complete`: the words that a shell may complete. For the completion scripts; people do not see it."""

from ...registry.aliases import Catalogue
from ...registry.errors import RegistryError
from ...registry.settings import RegistrySettings
from ...registry.shelf import Shelf
from .. import options as of
from ..session import Session


def complete(session: Session, what: of.CompletedArgument) -> None:
    """List words that a shell may complete: `models` gives installed models and the catalogue's names."""
    if what != "models":
        return
    for name in known_names(RegistrySettings.from_environment(session.settings().environment)):
        session.output.line(name)


def known_names(settings: RegistrySettings) -> list[str]:
    """Installed models, and those of the catalogue."""
    return sorted({*_installed(settings), *_known(settings)})


def _installed(settings: RegistrySettings) -> list[str]:
    """The sound ones: a broken one's name is that of a file, and nobody has looked at its letters."""
    try:
        return [entry.name for entry in Shelf(settings).entries() if entry.manifest]
    except OSError:
        return []


def _known(settings: RegistrySettings) -> list[str]:
    """A catalogue that cannot be read completes nothing; it is told of elsewhere."""
    try:
        return Catalogue.read(settings.aliases).names()
    except RegistryError:
        return []
