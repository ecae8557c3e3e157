"""A running server's model, loaded for whoever asks: what an engine of its own would be."""

from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from ..registry.names import ModelRef
from ..runtime.errors import ServerRefused
from .session import Session

if TYPE_CHECKING:
    from ..runtime.client.sync import Client


class Loaded(NamedTuple):
    """The model that answers, the most tokens that it reads and writes, and how long it took to be ready."""

    name: str
    context: int
    seconds: float


def is_for_here(model: str | None) -> bool:
    """Whether the name is a path: what lies where this command runs is nothing to a server."""
    return model is not None and ModelRef.parse(model).is_path


def loaded(session: Session, client: "Client", model: str | None, context: int | None = None) -> Loaded:
    """Have a model loaded; one that the server does not have is fetched there first.

    Without a name it is the default model, or the smallest where that cannot be fetched.
    """
    from ..registry.locate import DEFAULT_MODEL, SMALLEST_MODEL  # late: with them comes all that fetches models

    names = [model] if model else [DEFAULT_MODEL, SMALLEST_MODEL]
    for name in names[:-1]:
        try:
            return _brought(session, client, name, context)
        except ServerRefused as error:
            session.output.say(f"the default model cannot be had: {error}; {names[-1]} answers instead")
    return _brought(session, client, names[-1], context)


def _brought(session: Session, client: "Client", model: str, context: int | None) -> Loaded:
    try:
        return _loaded(client, model, context)
    except ServerRefused as error:
        if error.kind != "not_found":
            raise
        _fetch(session, client, model)
    return _loaded(client, model, context)


def _loaded(client: "Client", model: str, context: int | None) -> Loaded:
    began = perf_counter()
    resident = client.load(model, context=context)
    return Loaded(model, resident.context, perf_counter() - began)


def _fetch(session: Session, client: "Client", model: str) -> None:
    told = ""
    for status in client.pull(model):
        if status.status != told:
            told = status.status
            session.output.say(f"{model}: {told}")
