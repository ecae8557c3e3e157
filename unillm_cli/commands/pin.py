"""`unillm pin`: have a running server keep a model."""

from .. import options as of
from ..serving import need_server
from ..session import Session


def pin(session: Session, models: of.ModelsArgument, host: of.HostOption = None) -> None:
    """Have a running server keep models, loading those that are not loaded.

    A pinned model stays however long nobody uses it, and goes for no other.

    \b
    Examples:
      unillm pin smollm2:135m
    """
    with need_server(session, host) as client:
        for model in models:
            client.load(model)
            client.pin(model)
            session.output.say(f"pinned {model}")
    if session.json:
        session.output.data({"pinned": models})
