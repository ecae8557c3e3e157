"""The registry as a server needs it: what is installed, what a model's files say, and how to change both.

Endpoints call it in threads: it reads files and may fetch them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...registry.errors import InvalidName
from ...registry.files import ModelFiles
from ...registry.locate import locate
from ...registry.names import ModelRef
from ...registry.settings import RegistrySettings
from ...registry.shelf import Entry, Shelf


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models that `settings` say there are. `remembered` is for whoever looks things up again and again."""

    settings: RegistrySettings
    served: Mapping[str, str] = field(default_factory=dict)  # the name of each model that lies elsewhere, and its path
    remembered: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def entries(self) -> list[Entry]:
        """Every model of the shelf, broken ones marked."""
        return Shelf(self.settings).entries()

    def files(self, name: str) -> ModelFiles:
        """The files of a model that is here; nothing is fetched.

        Whoever asks over the network may name a path only where the server was told to serve it.
        """
        public = next((known for known, path in self.served.items() if name in (known, path)), None)
        if public is not None:
            found = locate(self.served[public], self.settings, pull_missing=False)
            return replace(found, name=public)
        if ModelRef.parse(name).is_path:
            raise InvalidName(name, "a model is called by its name here, not by a path")
        return locate(name, self.settings, pull_missing=False)


def served_names(models: Iterable[str]) -> Mapping[str, str]:
    """What models that were named by path are called: as the last part of it."""
    paths = [text for text in models if ModelRef.parse(text).is_path]
    return {Path(text).expanduser().absolute().name: text for text in paths}
