"""An answer from a running server, as `generate` wants it: what an engine of its own would give."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from ..registry.locate import DEFAULT_MODEL, SMALLEST_MODEL
from ..registry.names import ModelRef
from ..runtime.errors import ServerRefused
from ..runtime.params import SamplingParams
from ..runtime.results import Update
from .session import Session

if TYPE_CHECKING:
    from ..runtime.client.sync import Client


def is_for_here(model: str | None) -> bool:
    """Whether the name is a path: what lies where this command runs is nothing to a server."""
    return model is not None and ModelRef.parse(model).is_path


@dataclass(slots=True)
class Served:
    """One prompt's answer on its way here. `name` is the model that answers."""

    name: str
    updates: Iterator[Update]
    load_seconds: float


def ask(
    session: Session,
    client: "Client",
    model: str | None,
    text: str,
    system: str | None,
    params: SamplingParams,
    *,
    raw: bool,
) -> Served:
    """Ask for an answer; a model that the server does not have is fetched there first.

    Without a name it is the default model, or the smallest where that cannot be fetched.
    """
    names = [model] if model else [DEFAULT_MODEL, SMALLEST_MODEL]
    for name in names[:-1]:
        try:
            return _begun(session, client, name, text, system, params, raw=raw)
        except ServerRefused as error:
            session.output.say(f"the default model cannot be had: {error}; {names[-1]} answers instead")
    return _begun(session, client, names[-1], text, system, params, raw=raw)


def _begun(
    session: Session,
    client: "Client",
    model: str,
    text: str,
    system: str | None,
    params: SamplingParams,
    *,
    raw: bool,
) -> Served:
    from ..runtime.client.wire import Reading, question  # late: it brings what talks to servers

    try:
        load_seconds = _loaded(client, model)
    except ServerRefused as error:
        if error.kind != "not_found":
            raise
        _fetch(session, client, model, error)
        load_seconds = _loaded(client, model)
    said: str | list[dict[str, str]] = text
    if system is not None:
        said = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    updates = client.read(question(model, said, params, raw=raw, usual=True), Reading(""))
    return Served(model, updates, load_seconds)


def _loaded(client: "Client", model: str) -> float:
    """Have it loaded; how many seconds that took."""
    began = perf_counter()
    client.load(model)
    return perf_counter() - began


def _fetch(session: Session, client: "Client", model: str, missing: ServerRefused) -> None:
    told = ""
    try:
        for status in client.pull(model):
            if status.status != told:
                told = status.status
                session.output.say(f"{model}: {told}")
    except ServerRefused:
        raise missing from None
