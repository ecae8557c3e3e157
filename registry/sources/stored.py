"""The files that a source brings into the store: whether they are there, and what the shelf remembers of them."""

from ..digests import hash_file
from ..events import Listener, Notice, Progress, Verifying
from ..manifest import ShelvedFile
from ..plan import PlannedFile
from ..store import writing


def is_right(file: PlannedFile, listener: Listener) -> bool:
    """Whether the store has it with the bytes it should have. One that has not is thrown out."""
    if not file.path.is_file():
        return False
    listener(Verifying(file.name))
    if hash_file(file.path, lambda done, total: listener(Progress(file.name, done, total))).sha256 == file.digest:
        return True
    listener(Notice(f"{file.name} in the store has wrong bytes; it is fetched anew"))
    with writing(file.path):
        file.path.unlink()
    return False


def shelved(file: PlannedFile) -> ShelvedFile:
    """What its manifest says of a file that is in the store now because of us."""
    modified = file.path.stat().st_mtime_ns
    return ShelvedFile(file.name, file.size, file.digest, file.weights, fetched=True, modified=modified)
