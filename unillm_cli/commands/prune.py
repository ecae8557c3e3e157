"""`unillm prune`: remove what of ours belongs to no model."""

from ...registry.amounts import bytes_text
from ...registry.prune import Unused
from ...registry.prune import prune as removed
from .. import options as of
from ..installed import Installed
from ..session import Session


def prune(session: Session, partial: of.PartialOption = False, dry_run: of.DryRunOption = False) -> None:
    """Remove files that no model needs: what was left when a pull or a removal was broken off.

    In the Hugging Face cache only what unillm has brought there goes. What an unfinished download has left stays, so
    that it can go on, unless --partial is given.

    \b
    Examples:
      unillm prune --dry-run
      unillm prune --partial
    """
    found = removed(Installed.of(session).settings, partial=partial, dry_run=dry_run)
    if session.json:
        session.output.data({"files": [str(path) for path in found.files], "freed": found.size, "dry_run": dry_run})
    else:
        _tell(session, found, "would be freed" if dry_run else "freed")


def _tell(session: Session, found: Unused, what: str) -> None:
    for path in found.files:
        session.output.line(str(path))
    count = len(found.files)
    session.output.line(f"{count} file{'s' * (count != 1)}, {bytes_text(found.size)} {what}")
