"""`unillm lock`: which models these are, to the byte."""

from pathlib import Path

from ...registry.lockfile import NAME, is_lockable
from ...registry.lockfile import lock as locked
from .. import options as of
from ..installed import Installed
from ..pulling import PullReport
from ..session import Session


def lock(session: Session, models: of.AnyModelsArgument = None, file: of.LockFileOption = Path(NAME)) -> None:
    """Write a lock file: each model's repository and commit, its files and their checksums, and what is pinned to it.

    `unillm sync` restores exactly these models, here or elsewhere. Without a name all models are locked that another
    machine could have; one from a folder of yours could not.

    \b
    Examples:
      unillm lock
      unillm lock llama3:8b qwen3:0.6b -f models.lock
    """
    installed = Installed.of(session)
    entries = [installed.need(one) for one in models] if models else installed.shelf.entries()
    taken = [one for one in entries if models or is_lockable(one)]
    for one in entries:
        if one not in taken:
            session.output.warn(f"{one.name} is left out: {one.broken or f'it comes from {one.sound.origin}'}")
    with PullReport(session.output) as listener:
        locked(taken, file, listener)
    if session.json:
        session.output.data({"file": str(file), "models": [one.name for one in taken]})
    else:
        session.output.line(f"{len(taken)} model{'s' * (len(taken) != 1)} in {file}")
