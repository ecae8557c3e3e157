"""What a pull tells its listener while it works. A listener only looks; it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .plan import Plan


@dataclass(frozen=True, slots=True)
class SourceChosen:
    """`source` serves the model `name`, and why it does."""

    name: str
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Planned:
    """What will be fetched."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` bytes of `file` are here."""

    file: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Verifying:
    """`file` was here before, and is compared with its checksum."""

    file: str


@dataclass(frozen=True, slots=True)
class Shelved:
    """The model is whole, and on the shelf from now on."""

    name: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know."""

    text: str


Event: TypeAlias = SourceChosen | Planned | Progress | Verifying | Shelved | Notice
Listener: TypeAlias = Callable[[Event], None]


def nobody(_event: Event) -> None:
    """The listener of those who do not want to know."""
