"""`unillm rm`: take models off this machine."""

from ...registry.amounts import bytes_text
from ...registry.shelf import Removed
from .. import options as of
from ..installed import Installed
from ..session import Session


def rm(session: Session, models: of.ModelsArgument, dry_run: of.DryRunOption = False) -> None:
    """Remove models, and free the bytes that nobody else needs.

    Files that were in the Hugging Face cache before, that another model uses, or that lie in a folder of yours stay.
    A name that is not installed is told before anything is removed.

    \b
    Examples:
      unillm rm llama3:8b
      unillm rm llama3:8b --dry-run
      unillm rm mine:v1 mine:v2
    """
    installed = Installed.of(session)
    entries = [installed.need(model) for model in dict.fromkeys(models)]
    shelf = installed.shelf
    removed = shelf.foretell(entries) if dry_run else [shelf.remove(entry) for entry in entries]
    if session.json:
        told = [{"name": one.name, "freed": one.freed, "left": one.left} for one in removed]
        session.output.data({"models": told, "dry_run": True} if dry_run else {"models": told})
        return
    for one in removed:
        session.output.line(_foretold(one) if dry_run else _told(one))


def _told(removed: Removed) -> str:
    return f"removed {removed.name}: {bytes_text(removed.freed)} freed{_left(removed)}"


def _foretold(removed: Removed) -> str:
    return f"{removed.name} would be removed: {bytes_text(removed.freed)} would be freed{_left(removed)}"


def _left(removed: Removed) -> str:
    return f"; {bytes_text(removed.left)} stay: they were here before, or are used elsewhere" if removed.left else ""
