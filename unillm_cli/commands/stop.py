"""`unillm stop`: have a running server let models go."""

from .. import options as of
from ..serving import need_server
from ..session import Session


def stop(session: Session, models: of.ModelsArgument, host: of.HostOption = None) -> None:
    """Have a running server let models go, each as soon as nobody uses it.

    \b
    Examples:
      unillm stop smollm2:135m
    """
    with need_server(session, host) as client:
        for model in models:
            client.stop(model)
            session.output.say(f"stopped {model}")
    if session.json:
        session.output.data({"stopped": models})
