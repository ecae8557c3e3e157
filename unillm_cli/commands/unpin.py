"""`unillm unpin`: a running server need not keep a model any more."""

from .. import options as of
from ..serving import need_server
from ..session import Session


def unpin(session: Session, models: of.ModelsArgument, host: of.HostOption = None) -> None:
    """Let a running server give up pinned models again, when their time is up.

    \b
    Examples:
      unillm unpin smollm2:135m
    """
    with need_server(session, host) as client:
        for model in models:
            client.pin(model, pinned=False)
            session.output.say(f"unpinned {model}")
    if session.json:
        session.output.data({"unpinned": models})
