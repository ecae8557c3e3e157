"""Models as the shell's commands see them, on this machine or on the server that answers: listed, shown, made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...registry.amounts import bytes_text
from ...registry.create import create
from ...registry.files import Message
from ...registry.modelfile import Modelfile
from ..commands.complete import known_names
from ..commands.show import find_part, find_shown
from ..installed import Installed
from ..pulling import PullReport
from ..session import Session
from ..speaking import Speaker, There
from .conversation import Conversation

_SAVE = Path("/save")  # what errors name


@dataclass(frozen=True, slots=True)
class Card:
    """What there is to tell of a model. `messages` is how many of its own begin every conversation with it."""

    facts: Sequence[tuple[str, str | None]]
    parameters: str
    system: str | None
    template: str | None
    licence: str | None
    messages: int


def card(session: Session, speaker: Speaker | None, model: str) -> Card:
    return _card_there(speaker, model) if isinstance(speaker, There) else _card_here(session, model)


def modelfile(session: Session, speaker: Speaker, model: str) -> str:
    """A recipe for the same model."""
    if isinstance(speaker, There):
        return speaker.client.show(model).modelfile
    return find_part(Installed.of(session).settings, model, "modelfile")


def rows(session: Session, speaker: Speaker | None) -> list[list[str]]:
    """Name and size of every model that is installed."""
    if isinstance(speaker, There):
        return [[one.name, bytes_text(one.size)] for one in speaker.client.models()]
    entries = Installed.of(session).shelf.entries()
    return [[one.name, bytes_text(one.manifest.size) if one.manifest else "broken"] for one in entries]


def names(session: Session, speaker: Speaker | None) -> list[str]:
    """What may be loaded by name; what is here comes before what would have to be fetched."""
    here = [row[0] for row in rows(session, speaker)]
    known = [] if isinstance(speaker, There) else known_names(Installed.of(session).settings)
    return list(dict.fromkeys([*sorted(here), *known]))


def save(session: Session, speaker: Speaker | None, name: str, conversation: Conversation) -> None:
    """Make a model of the one that answers, of what the user has set and of what was said."""
    if isinstance(speaker, There):
        body: dict[str, Any] = {"system": conversation.system, "parameters": conversation.parameters}
        said = [dict(one) for one in conversation.messages]
        speaker.client.create(name, speaker.name, **body, messages=said)
        return
    recipe = Modelfile(
        _SAVE,
        conversation.model,
        parameters=dict(conversation.parameters),
        system=conversation.system,
        messages=tuple(Message(one["role"], one["content"]) for one in conversation.messages),
    )
    with PullReport(session.output) as listener:
        create(name, recipe, Installed.of(session).settings, listener)


def _card_here(session: Session, model: str) -> Card:
    shown = find_shown(Installed.of(session), model)
    parameters = "\n".join(f"{name:<30}{value}" for name, value in shown.data.get("parameters", {}).items())
    licence = shown.data.get("license_text") or shown.data.get("license")
    facts = [("model", shown.title), *((name, value) for name, value in shown.facts if name != "template")]
    messages = len(shown.data.get("messages", ()))
    return Card(facts, parameters, shown.data.get("system"), shown.template, licence, messages)


def _card_there(speaker: There, model: str) -> Card:
    found = speaker.client.show(model)
    facts = [("model", model), ("server", speaker.client.url), *((k, str(v)) for k, v in found.details.items() if v)]
    own = (found.system or None, found.template or None, found.license or None)
    return Card(facts, found.parameters, *own, len(found.messages))
