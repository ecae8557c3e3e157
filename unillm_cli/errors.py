"""From an error to a sentence, a next step and an exit code: the table of what ends a command.

Errors carry their own data and words (`registry`, `models`, `runtime`); here stands which exit code a kind of error
has, and the sentence for those that Python raises.
"""

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from typer import TyperException

from ..models.errors import ModelError
from ..registry import errors as registry
from ..runtime import errors as runtime
from ..runtime.server.errors import BadCertificate, CannotListen, NotServed


class Exit(IntEnum):
    """What a command ends with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    NETWORK = 5
    NO_ROOM = 6
    BUSY = 7
    INTERRUPTED = 130
    READER_LEFT = 141


class CliError(Exception):
    """The base of what the command line itself finds wrong."""

    hint: str | None = None


class UsageError(CliError):
    """The words of a command contradict each other, or one is missing."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class SettingsError(CliError):
    """A setting cannot be: `where` names the file and its key, or the environment variable."""

    def __init__(self, where: str, reason: str, hint: str | None = None) -> None:
        super().__init__(f"{where}: {reason}")
        self.where, self.reason, self.hint = where, reason, hint


class NotThere(CliError):
    """Something of the user's own is called by a name that it does not have."""


class OutputFailed(CliError):
    """Standard output takes no more."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot write to standard output: {reason}")
        self.reason = reason


class ReaderLeft(CliError):
    """Whoever read our output has gone (`| head`). Nobody is told."""


class FoundFaults(CliError):
    """Models were verified, and some are not as they should be."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"not as they should be: {', '.join(names)}")
        self.names = names
        self.hint = f"fetch again what is wrong: unillm pull {' '.join(names)}"


class FoundTrouble(CliError):
    """Something that unillm needs is broken."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(f"broken: {', '.join(names)}")
        self.names = names


@dataclass(frozen=True, slots=True)
class Report:
    """How a command's failure is told."""

    message: str
    hint: str | None
    code: Exit


EXIT_CODES: Mapping[type[BaseException], Exit] = {
    UsageError: Exit.USAGE,
    SettingsError: Exit.USAGE,
    CliError: Exit.FAILED,
    NotThere: Exit.NOT_FOUND,
    ModelError: Exit.FAILED,
    registry.RegistryError: Exit.FAILED,
    registry.InvalidName: Exit.USAGE,
    registry.SettingRefused: Exit.USAGE,
    registry.AliasFileError: Exit.USAGE,
    registry.ModelfileError: Exit.USAGE,
    registry.LockFileError: Exit.USAGE,
    registry.ModelNotFound: Exit.NOT_FOUND,
    registry.VariantNotFound: Exit.NOT_FOUND,
    registry.RevisionNotFound: Exit.NOT_FOUND,
    registry.FileMissing: Exit.NOT_FOUND,
    registry.NoWeights: Exit.NOT_FOUND,
    registry.GatedModel: Exit.NOT_ALLOWED,
    registry.Unauthorized: Exit.NOT_ALLOWED,
    registry.NotPublic: Exit.NOT_ALLOWED,
    registry.OfflineMode: Exit.NETWORK,
    registry.SourceUnreachable: Exit.NETWORK,
    registry.PackageUnavailable: Exit.NETWORK,
    registry.DiskFull: Exit.NO_ROOM,
    registry.StoreBusy: Exit.BUSY,
    runtime.RuntimeFault: Exit.FAILED,
    runtime.InvalidParameter: Exit.USAGE,
    runtime.NotEnoughMemory: Exit.NO_ROOM,
    runtime.PoolTooSmall: Exit.NO_ROOM,
    runtime.ServerUnreachable: Exit.NETWORK,
    BadCertificate: Exit.USAGE,
    CannotListen: Exit.BUSY,
}


def report(error: BaseException) -> Report:
    """What to tell the user of `error`. An unknown kind is a bug of ours, and is called so."""
    for kind in type(error).__mro__:
        if kind in _SENTENCES:
            return _SENTENCES[kind](error)
        if kind in EXIT_CODES:
            return Report(str(error), getattr(error, "hint", None), EXIT_CODES[kind])
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return Report("what was given is not UTF-8 text", "convert it: iconv -f LATIN1 -t UTF-8", Exit.USAGE)
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    hint = "this is a bug in unillm: please report it with what --debug prints"
    return Report(f"unexpected {name}: {error}", hint, Exit.FAILED)


def _of_sources(error: registry.NotFetched) -> Report:
    """What one source says of the model weighs more than that others are out of reach."""
    codes = [report(cause).code for cause in error.causes]
    told = [code for code in codes if code not in (Exit.NETWORK, Exit.FAILED)]
    return Report(str(error), error.hint, next(iter([*told, *codes]), Exit.FAILED))


def _of_server(error: runtime.ServerRefused) -> Report:
    """By the family of what is wrong."""
    return Report(str(error), error.hint, _SERVER.get(error.kind, Exit.FAILED))


def _of_usage(error: TyperException) -> Report:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "unillm")
    message = error.format_message().replace(": Value error, ", ": ").rstrip(".")
    options = getattr(getattr(context, "command", None), "params", ())
    answers = any("--schema" in one.opts for one in options)
    ours = _OLLAMAS.get(getattr(error, "option_name", "")) if answers else None
    return Report(message, ours or f"see `{command} --help`", Exit(error.exit_code))


def _of_system(error: OSError) -> Report:
    what = error.strerror or str(error)
    where = f"{error.filename}: " if error.filename is not None else ""
    code, hint = _SYSTEM.get(error.errno or 0, (Exit.FAILED, None))
    return Report(f"{where}{what}", hint, code)


def _of_memory(_error: MemoryError) -> Report:
    return Report(
        "out of memory", "a smaller model, a smaller quantisation or a shorter --context needs less", Exit.NO_ROOM
    )


_OLLAMAS: Mapping[str, str] = {  # options of Ollama's `run`, by which its users ask for what is called otherwise here
    "--format": '--schema has the answer be JSON: --schema \'{"type": "object"}\', or a file with a schema',
    "--keepalive": "a server keeps models: unillm serve --keep-alive 10m",
}
_SERVER: Mapping[str, Exit] = {
    "invalid": Exit.USAGE,
    "too_long": Exit.USAGE,
    "not_found": Exit.NOT_FOUND,
    "forbidden": Exit.NOT_ALLOWED,
    "busy": Exit.BUSY,
    "unavailable": Exit.BUSY,
    "no_memory": Exit.NO_ROOM,
    "no_disk": Exit.NO_ROOM,
    "unreachable": Exit.NETWORK,
}
_SYSTEM: Mapping[int, tuple[Exit, str | None]] = {
    errno.ENOENT: (Exit.NOT_FOUND, None),
    errno.ENOMEM: (Exit.NO_ROOM, None),
    errno.ENOSPC: (Exit.NO_ROOM, "free some space on that disk"),
    errno.EDQUOT: (Exit.NO_ROOM, "free some space on that disk"),
}
_SENTENCES: Mapping[type, Callable[..., Report]] = {
    TyperException: _of_usage,
    registry.NotFetched: _of_sources,
    runtime.ServerRefused: _of_server,
    NotServed: lambda error: Report(str(error), error.hint, Exit.NO_ROOM if error.for_memory else Exit.FAILED),
    OSError: _of_system,
    MemoryError: _of_memory,
}
