"""`unillm rm`: take models off this machine."""

from ...registry.amounts import bytes_text
from ...registry.shelf import Removed
from .. import options as of
from ..installed import Installed
from ..session import Session


def rm(session: Session, models: of.ModelsArgument) -> None:
    """Remove models, and free the bytes that nobody else needs.

    Files that were in the Hugging Face cache before, that another model uses, or that lie in a folder of yours stay.
    A name that is not installed is told before anything is removed.

    \b
    Examples:
      unillm rm llama3:8b
      unillm rm mine:v1 mine:v2
    """
    installed = Installed.of(session)
    entries = [installed.need(model) for model in dict.fromkeys(models)]
    removed = [installed.shelf.remove(entry) for entry in entries]
    if session.json:
        session.output.data({"models": [{"name": one.name, "freed": one.freed, "left": one.left} for one in removed]})
        return
    for one in removed:
        session.output.line(_told(one))


def _told(removed: Removed) -> str:
    left = f"; {bytes_text(removed.left)} stay: they were here before, or are used elsewhere" if removed.left else ""
    return f"removed {removed.name}: {bytes_text(removed.freed)} freed{left}"
