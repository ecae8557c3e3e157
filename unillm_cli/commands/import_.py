"""`unillm import`: a model from the file that `unillm export` has written."""

from ...registry.archive import import_archive
from .. import options as of
from ..installed import Installed, as_data
from ..pulling import PullReport
from ..session import Session


def import_(session: Session, file: of.ArchiveArgument, name: of.NameOption = None) -> None:
    """Add the model in an archive to those on this machine, every byte verified. Nothing is fetched.

    \b
    Examples:
      unillm import llama3.tar
      unillm import llama3.tar --name mine
    """
    with PullReport(session.output) as listener:
        entry = import_archive(file, Installed.of(session).settings, listener, name=name)
    if session.json:
        session.output.data(as_data(entry))
