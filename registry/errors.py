"""What can be wrong with a name, a file or a source: each a value with data, worded at the door."""

from pathlib import Path


class RegistryError(Exception):
    """The base of everything that `registry` raises. `hint` says what to do next."""

    hint: str | None = None


class FormatError(RegistryError):
    """A weight file is not what it says. `field` names the part of the file, `offset` its byte."""

    def __init__(self, file: Path, field: str, reason: str, offset: int | None = None) -> None:
        at = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{file}: {field}{at}: {reason}")
        self.file, self.field, self.reason, self.offset = file, field, reason, offset
