"""A server that may be running already: found in a moment, or not at all.

Where nobody has said which server is meant, only this machine's own port is tried, and nobody is told when nothing
answers there. What talks HTTP is imported only when something does.
"""

import socket
from contextlib import closing
from importlib.metadata import version
from typing import TYPE_CHECKING

from ..runtime.errors import RuntimeFault, ServerRefused, ServerUnreachable
from .session import Session

if TYPE_CHECKING:
    from ..runtime.client.sync import Client

_HERE = "127.0.0.1:8080"
_MOMENT = 0.25  # seconds: this machine answers within one, or says at once that nobody listens
_TO_SAY_WHO = 2.0


def find_server(session: Session, host: str | None) -> "Client | None":
    """The server that runs; None where none does, and none was named. Raises `ServerUnreachable` for one that was."""
    named = host or session.environ.get("UNILLM_HOST")
    if not named and not _listens():
        return None
    from ..runtime.client.sync import Client

    client = Client(named or _HERE, key=session.environ.get("UNILLM_API_KEY"))
    try:
        about = client.about(within=_TO_SAY_WHO)
    except RuntimeFault as error:
        client.close()
        if named:
            raise
        if isinstance(error, ServerRefused):  # it is one of ours, or of somebody's who does not want us
            session.output.say(f"the server at {client.url} is not asked: {error}")
        return None
    if about.version != (ours := version("unillm-cli")):
        session.output.warn(f"the server at {client.url} is unillm {about.version}; this is {ours}")
    return client


def need_server(session: Session, host: str | None) -> "Client":
    """The same; raises `ServerUnreachable` where there is none."""
    found = find_server(session, host)
    if found is None:
        raise ServerUnreachable(f"http://{_HERE}", "nothing listens there")
    return found


def _listens() -> bool:
    """Whether anything does on the port where a server of ours would be."""
    with closing(socket.socket()) as tried:
        tried.settimeout(_MOMENT)
        name, _, port = _HERE.partition(":")
        return tried.connect_ex((name, int(port))) == 0
