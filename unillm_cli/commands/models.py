"""`unillm models`: what is installed."""

from datetime import UTC, datetime

from ...registry.amounts import bytes_text
from ...registry.shelf import Entry
from .. import options as of
from ..durations import ago_text
from ..installed import Installed, as_data
from ..session import Session


def models(
    session: Session,
    prefix: of.PrefixArgument = None,
    ollama: of.OllamaOption = False,
    outdated: of.OutdatedOption = False,
) -> None:
    """List the models on this machine.

    Models in the store of an Ollama on this machine are listed with --ollama, and used by the names that they have
    there. A model whose manifest cannot be read is shown as broken; the others are none the worse for it.

    \b
    Examples:
      unillm models
      unillm models qwen
      unillm models --json
      unillm models --ollama
      unillm models --outdated
    """
    if ollama:
        _of_ollama(session, prefix or "")
        return
    if outdated:
        _outdated(session, prefix or "")
        return
    entries = [one for one in Installed.of(session).shelf.entries() if one.name.startswith((prefix or "").lower())]
    if session.json:
        session.output.data({"models": [as_data(one) for one in entries]})
    else:
        session.output.table(["NAME", "ID", "SIZE", "MODIFIED"], [_row(one) for one in entries])
        if not entries:
            none = f"no model here is called {prefix}..." if prefix else "no models yet"
            session.output.say(f"{none}; fetch one: unillm pull smollm2:135m")
    for one in entries:
        if one.broken:
            session.output.warn(f"{one.name} is broken: {one.broken}")


def _outdated(session: Session, prefix: str) -> None:
    """Those whose source has another commit by now. A source that does not say is told of, and hurts no other."""
    from ...registry.aliases import Catalogue  # late, all of it: the plain list asks nobody
    from ...registry.updates import find_update, is_updatable

    installed = Installed.of(session)
    catalogue = Catalogue.read(installed.settings.aliases)
    asked = [one for one in installed.shelf.entries() if one.name.startswith(prefix) and is_updatable(one, catalogue)]
    found = [find_update(one, installed.settings) for one in asked]
    newer = [(one.entry, one.newer) for one in found if one.newer]
    if session.json:
        session.output.data({"models": [{**as_data(entry), "newer": commit} for entry, commit in newer]})
    else:
        session.output.table(["NAME", "ID", "NEWER"], [[one.name, one.sound.id[:12], new[:12]] for one, new in newer])
        if not newer and all(one.error is None for one in found):
            session.output.say("no source has a newer version of any model here")
    for one in found:
        if one.error:
            session.output.warn(f"{one.entry.name}: {one.error}")


def _of_ollama(session: Session, prefix: str) -> None:
    """Those of another program's store, which have no manifest of ours."""
    from ...registry.sources.ollama import ollama_models  # late: the list of our own shall not wait for it

    found = [one for one in ollama_models(Installed.of(session).settings) if prefix in one.name]
    if session.json:
        session.output.data({"models": [{"name": one.name, "size": one.size} for one in found]})
        return
    now = datetime.now(UTC).timestamp()
    rows = [[one.name, bytes_text(one.size or 0), ago_text(now - one.modified)] for one in found]
    session.output.table(["NAME", "SIZE", "MODIFIED"], rows)


def _row(entry: Entry) -> list[str]:
    manifest = entry.manifest
    if manifest is None:
        return [entry.name, "-", "-", "broken"]
    age = (datetime.now(UTC) - manifest.pulled).total_seconds()
    return [entry.name, manifest.id[:12], bytes_text(manifest.size), ago_text(age)]
