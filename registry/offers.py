"""Which places may serve a name, best first, and which variant of the model each would bring.

Here is decided between a model's original weights and a quantisation: by its tag, else by what the machine's memory
holds. Nothing is asked of any source.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .aliases import Catalogue, Match
from .amounts import bytes_text
from .errors import InvalidName, ModelNotFound, VariantNotFound
from .memory import Room, room_for_a_model
from .names import DEFAULT_TAG, Kind, ModelRef
from .rows import PackageSource, Row
from .settings import RegistrySettings


@dataclass(frozen=True, slots=True)
class HubOffer:
    """A repository of the hub; `quant` None takes the weights as their makers left them."""

    repo: str
    reason: str
    revision: str | None = None
    quant: str | None = None
    pattern: str | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class PackageOffer:
    """Packages of the Python package index."""

    source: PackageSource
    reason: str


@dataclass(frozen=True, slots=True)
class RegistryOffer:
    """A model of Ollama's registry: `name` is its namespace and its own."""

    name: str
    tag: str
    reason: str


Offer: TypeAlias = HubOffer | PackageOffer | RegistryOffer


def offers_here(ref: ModelRef, catalogue: Catalogue, settings: RegistrySettings) -> list[Offer]:
    """The places for `ref`, on this machine and for this user."""
    logged_in = settings.token is not None
    return offers_for(
        catalogue.followed(ref), catalogue, lambda: room_for_a_model(settings.memory), logged_in=logged_in
    )


def offers_for(ref: ModelRef, catalogue: Catalogue, room: Callable[[], Room], *, logged_in: bool) -> list[Offer]:
    """The places for `ref`. Raises `ModelNotFound` or `VariantNotFound`."""
    if ref.kind is Kind.REPO:
        reason = f"its name asks for {ref.quant}" if ref.quant else "its name asks for the repository"
        return [HubOffer(ref.name, reason, ref.revision, ref.quant)]
    if ref.kind is Kind.REGISTRY:
        return [RegistryOffer(ref.name, ref.tag or DEFAULT_TAG, "its name asks for the registry")]
    if ref.kind is Kind.OLLAMA:
        raise InvalidName(str(ref), "what lies in Ollama's store is used there, and cannot be pulled")
    match = catalogue.find(ref)
    if match is None:
        raise ModelNotFound(str(ref), catalogue.near(str(ref)))
    if match.wanted.quant is not None:
        return _of_that_variant(match, match.wanted.quant)
    packages = [PackageOffer(one, f"{one.quant} is what the package index has") for one in match.row.sources]
    return [*_fitting(match.row, room, logged_in), *packages]


def _of_that_variant(match: Match, quant: str) -> list[Offer]:
    row, reason = match.row, f"the tag asks for {quant}"
    if match.wanted.plain and row.original:
        return [_original(row, f"{reason}: the original weights")]
    hub: list[Offer] = [_quantised(row, quant, reason)] if row.gguf else []
    offers = [*hub, *(PackageOffer(source, reason) for source in row.sources if source.quant == quant)]
    if not offers:
        raise VariantNotFound(str(row.ref), quant, ["the original weights", *(one.quant for one in row.sources)])
    return offers


def _fitting(row: Row, room: Callable[[], Room], logged_in: bool) -> list[Offer]:
    """The original where it fits, and then the quantisation in case it is not there; else the quantisation."""
    if not row.original:
        return [_quantised(row, row.quant, f"{row.quant} is the usual one")] if row.gguf else []
    if not row.gguf:
        return [_original(row, "there is no quantised one")]
    if row.gated != "no" and not logged_in:
        return [_quantised(row, row.quant, f"the original is gated and nobody is logged in; {row.quant} is open")]
    place, original = room(), row.original_size
    if original is None or place.fits(original):
        weight = f" ({bytes_text(original)})" if original else ""
        return [
            _original(row, f"the original weights{weight} fit in {place}"),
            _quantised(row, row.quant, "the original weights are not there"),
        ]
    return [_quantised(row, row.quant, _why_smaller(row, original, place))]


def _why_smaller(row: Row, original: int, place: Room) -> str:
    too_large = f"the original weights ({bytes_text(original)}) do not fit in {place}"
    if row.gguf_size is None:
        return f"{too_large}; {row.quant} is smaller"
    verdict = "does" if place.fits(row.gguf_size) else "does not either, but is the smallest here"
    return f"{too_large}; {row.quant} ({bytes_text(row.gguf_size)}) {verdict}"


def _original(row: Row, reason: str) -> HubOffer:
    return HubOffer(row.original or "", reason, licence=row.licence)


def _quantised(row: Row, quant: str, reason: str) -> HubOffer:
    return HubOffer(row.gguf or "", reason, quant=quant, pattern=row.file, licence=row.licence)
