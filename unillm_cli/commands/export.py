"""`unillm export`: a model in one file."""

from ...registry.amounts import bytes_text
from ...registry.archive import export as exported
from .. import options as of
from ..installed import Installed
from ..pulling import PullReport
from ..session import Session


def export(session: Session, model: of.ModelArgument, file: of.ArchiveArgument) -> None:
    """Write a model into one file, to carry it to another machine. `unillm import` reads it there.

    It is a plain tar archive of the model's files, with what was pinned to them. Every byte is verified on the way.

    \b
    Examples:
      unillm export llama3:8b llama3.tar
    """
    installed = Installed.of(session)
    entry = installed.need(model)
    with PullReport(session.output) as listener:
        path = exported(entry, file, listener)
    size = path.stat().st_size
    if session.json:
        session.output.data({"name": entry.name, "file": str(path), "size": size})
    else:
        session.output.line(f"exported {entry.name} to {path}: {bytes_text(size)}")
