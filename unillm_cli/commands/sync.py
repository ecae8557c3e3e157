"""`unillm sync`: exactly the models of a lock file."""

from pathlib import Path

from ...registry.lockfile import NAME, read_lock
from ...registry.lockfile import sync as synced
from .. import options as of
from ..installed import Installed, as_data
from ..pulling import PullReport
from ..session import Session


def sync(
    session: Session,
    file: of.LockFileOption = Path(NAME),
    offline: of.OfflineOption = None,
    limit_rate: of.LimitRateOption = None,
) -> None:
    """Have exactly the models that a lock file names: the same commits, the same bytes, the same pinned parameters.

    What is missing is fetched and verified. A model of the same name that is another one gives way; other models stay.

    \b
    Examples:
      unillm sync
      unillm sync -f models.lock --offline
    """
    settings = Installed.of(session, offline=offline, limit_rate=limit_rate).settings
    with PullReport(session.output) as listener:
        entries = [synced(one, settings, listener) for one in read_lock(file, settings)]
    if session.json:
        session.output.data({"models": [as_data(one) for one in entries]})
