"""What a pull would do: which files, from where, how many bytes, and why this variant. Nothing is fetched for it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from .digests import Digest
from .formats.sniff import Format
from .manifest import ArchiveOrigin, Origin, PackageOrigin, PlaceOrigin, RegistryOrigin
from .names import ModelRef
from .rows import PackageSource

Gated: TypeAlias = Literal["no", "auto", "manual"]


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One file of a plan. `have` of its bytes are on this machine; where all are, it is only verified."""

    name: str
    size: int
    digest: Digest
    weights: bool
    path: Path
    have: int = 0

    @property
    def here(self) -> bool:
        return self.have == self.size


@dataclass(frozen=True, slots=True)
class Plan:
    """How `ref` would come here. `folder` is where its files go, `free` the bytes left on that disk."""

    ref: ModelRef
    origin: Origin
    format: Format
    variant: str
    reason: str
    files: tuple[PlannedFile, ...]
    folder: Path
    free: int
    licence: str | None = None
    gated: Gated = "no"
    packages: PackageSource | None = None

    @property
    def size(self) -> int:
        return sum(one.size for one in self.files)

    @property
    def missing(self) -> int:
        """The bytes still to come."""
        return sum(one.size - one.have for one in self.files)

    @property
    def needed(self) -> int:
        """The bytes that the disk must have for it; a package lies there beside the file that is taken out of it."""
        package = (self.packages.download or 0) if self.packages and self.missing else 0
        return self.missing + (package // len(self.packages.packages) if self.packages else 0)

    @property
    def source(self) -> str:
        """The kind of place that the files come from."""
        match self.origin:
            case PackageOrigin():
                return "the package index"
            case RegistryOrigin(endpoint):
                return f"the registry at {endpoint}"
            case PlaceOrigin() | ArchiveOrigin():
                return "this machine"
            case origin:
                return f"the hub at {origin.endpoint}"
