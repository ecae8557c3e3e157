"""`unillm ps`: which models a running server has loaded."""

from time import time

from msgspec import to_builtins

from ...registry.amounts import bytes_text
from ...runtime.hosting.asking import Resident
from .. import options as of
from ..durations import seconds_text
from ..serving import find_server
from ..session import Session


def ps(session: Session, host: of.HostOption = None) -> None:
    """List the models that a running server has loaded.

    \b
    Examples:
      unillm ps
      unillm ps --json
      unillm ps --host 192.168.1.4:8080
    """
    client = find_server(session, host)
    if client is None:
        if session.json:
            session.output.data({"server": None, "models": []})
        session.output.say("no server runs here; start one: unillm serve")
        return
    with client:
        models = client.ps()
    if session.json:
        session.output.data({"server": client.url, "models": [to_builtins(one) for one in models]})
        return
    head = ["NAME", "STATE", "SIZE", "DEVICE", "CONTEXT", "RUNNING", "UNTIL"]
    session.output.table(head, [_row(one) for one in models])


def _row(model: Resident) -> list[str]:
    return [
        model.name,
        model.state,
        bytes_text(model.size),
        model.device or "-",
        str(model.context or "-"),
        str(model.running),
        _until(model),
    ]


def _until(model: Resident) -> str:
    if model.pinned:
        return "pinned"
    if model.expires is None:
        return "in use" if model.running else "for ever"
    return f"{seconds_text(max(model.expires - time(), 0.0))} from now"
