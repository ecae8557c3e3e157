"""`unillm history`: the conversations that were kept."""

from datetime import UTC, datetime

from .. import options as of
from ..durations import ago_text
from ..errors import UsageError
from ..session import Session
from ..shell.store import Kept, Store, state_folder


def history(
    session: Session, action: of.HistoryArgument = "list", ids: of.IdsArgument = None, all_: of.AllKeptOption = False
) -> None:
    """List the conversations of the shell, show one, or remove some.

    Each is a file in the state folder (UNILLM_STATE), for you alone. A damaged one is told of; rm removes it too.

    \b
    Examples:
      unillm history
      unillm history show 20260131-093000-ab12
      unillm history rm 20260131-093000-ab12
      unillm history rm --all
    """
    store = Store(state_folder(session.settings().state))
    if action == "list":
        _list(session, store)
    elif action == "show":
        if len(ids or []) != 1:
            raise UsageError("name the one conversation to show", "unillm history lists them")
        _show(session, store, (ids or [""])[0])
    else:
        if all_ == bool(ids):
            raise UsageError("name the conversations to remove, or say --all and name none")
        _remove(session, store, ids or [one.id for one in store.all()])


def _list(session: Session, store: Store) -> None:
    found = store.all()
    sound = [one.conversation for one in found if one.conversation]
    if session.json:
        listed = [{"id": c.id, "model": c.model, "began": c.began, "messages": len(c.messages)} for c in sound]
        session.output.data({"conversations": listed})
    else:
        session.output.table(["ID", "MODEL", "MESSAGES", "CHANGED", "BEGINS"], filter(None, map(_row, found)))
        if not found:
            session.output.say("no conversations yet; begin one: unillm shell")
    for one in found:
        if one.error:
            session.output.warn(f"{one.error}; {one.error.hint}")


def _row(kept: Kept) -> list[str]:
    found = kept.conversation
    if found is None:
        return []
    age = datetime.now(UTC).timestamp() - kept.changed
    return [found.id, found.model, str(len(found.messages)), ago_text(age), found.title[:60]]


def _show(session: Session, store: Store, wanted: str) -> None:
    found = store.load(wanted)
    if session.json:
        session.output.data(found.as_data())
        return
    if found.system:
        session.output.line(f"system: {found.system}\n")
    for message in found.messages:
        session.output.line(f"{'>>> ' if message['role'] == 'user' else ''}{message['content']}\n")


def _remove(session: Session, store: Store, ids: list[str]) -> None:
    for one in ids:
        store.remove(one)
        session.output.say(f"removed {one}")
    if session.json:
        session.output.data({"removed": ids})
