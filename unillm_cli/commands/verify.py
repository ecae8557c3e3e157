"""`unillm verify`: is every byte still the one that was fetched?"""

from typing import Any

from ...registry.amounts import bytes_text
from ...registry.shelf import Entry, Fault
from .. import options as of
from ..errors import FoundFaults
from ..installed import Installed
from ..pulling import PullReport
from ..session import Session


def verify(session: Session, models: of.AnyModelsArgument = None) -> None:
    """Read every byte of installed models again and compare the checksums; without a name, of all models.

    What is wrong is repaired by `unillm pull`.

    \b
    Examples:
      unillm verify
      unillm verify llama3:8b
    """
    installed = Installed.of(session)
    entries = [installed.need(one) for one in models] if models else installed.shelf.entries()
    results = [(entry, _examined(session, installed, entry)) for entry in entries]
    if session.json:
        session.output.data({"models": [_as_data(entry, faults) for entry, faults in results]})
    faulty = [entry.name for entry, faults in results if faults or entry.broken]
    if faulty:
        raise FoundFaults(faulty)


def _examined(session: Session, installed: Installed, entry: Entry) -> list[Fault]:
    if entry.manifest is None:
        session.output.warn(f"{entry.name} is broken: {entry.broken}")
        return []
    with PullReport(session.output) as listener:
        faults = installed.shelf.verify(entry, listener)
    if not session.json:
        _tell(session, entry, faults)
    return faults


def _tell(session: Session, entry: Entry, faults: list[Fault]) -> None:
    for fault in faults:
        found = f"is {fault.got}" if fault.got else "is not there"
        session.output.line(f"{entry.name}: {fault.path} should be {fault.want}, and {found}")
    if not faults:
        files = len(entry.sound.files)
        session.output.line(
            f"{entry.name}: {files} file{'s' * (files != 1)}, {bytes_text(entry.sound.size)}: all right"
        )


def _as_data(entry: Entry, faults: list[Fault]) -> dict[str, Any]:
    listed = [
        {"file": one.file, "path": str(one.path), "want": str(one.want), "got": str(one.got) if one.got else None}
        for one in faults
    ]
    broken = {"broken": str(entry.broken)} if entry.broken else {}
    return {"name": entry.name, "ok": not faults and not broken, "faults": listed, **broken}
