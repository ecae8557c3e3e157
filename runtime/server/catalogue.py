"""The registry as a server needs it: what is installed, what a model's files say, and how to change both.

Endpoints call it in threads: it reads files and may fetch them.
"""

from dataclasses import dataclass, field
from typing import Any

from ...registry.files import ModelFiles
from ...registry.locate import locate
from ...registry.settings import RegistrySettings
from ...registry.shelf import Entry, Shelf


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models that `settings` say there are. `remembered` is for whoever looks things up again and again."""

    settings: RegistrySettings
    remembered: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def entries(self) -> list[Entry]:
        """Every model of the shelf, broken ones marked."""
        return Shelf(self.settings).entries()

    def files(self, name: str) -> ModelFiles:
        """The files of a model that is here; nothing is fetched."""
        return locate(name, self.settings, pull_missing=False)
