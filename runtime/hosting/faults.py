"""An exception as a fault: what may be said of it outside this process. Paths and internals stay inside."""

import re
from collections.abc import Iterable, Mapping

from ...models.errors import ModelError
from ...registry import errors as registry
from ...registry.files import ModelFiles
from ..errors import (
    BackendRefused,
    DeviceNotFound,
    DraftMismatch,
    InvalidParameter,
    InvalidPrompt,
    NotEnoughMemory,
    NoTools,
    PromptTooLong,
    RuntimeFault,
    TooManyForms,
)
from .asking import Fault, FaultKind, HostError

UNKNOWN = "something went wrong inside; the server's log says more"
ENGINE_GONE = Fault("unavailable", "the model's engine has ended", "ask again: it is loaded anew", retry_after=1.0)
_SOON = 10.0  # seconds
# A repository that is not shown may be private or not be at all: whoever asks us hears what its hub says, that there is
# none. That is no 401, which would say that the client's own key is wrong.
_REGISTRY: Mapping[type, FaultKind] = {
    registry.RegistryError: "broken",
    registry.InvalidName: "invalid",
    registry.ModelfileError: "invalid",
    registry.NoTemplate: "invalid",
    registry.NameTaken: "invalid",
    registry.NotUploaded: "invalid",
    registry.ModelNotFound: "not_found",
    registry.NothingToFetch: "not_found",
    registry.VariantNotFound: "not_found",
    registry.RevisionNotFound: "not_found",
    registry.NoWeights: "not_found",
    registry.Unauthorized: "not_found",
    registry.GatedModel: "forbidden",
    registry.NotPublic: "forbidden",
    registry.OfflineMode: "unreachable",
    registry.SourceUnreachable: "unreachable",
    registry.PackageUnavailable: "unreachable",
    registry.RepositoryChanged: "unreachable",
    registry.RedirectRefused: "unreachable",
    registry.MalformedAnswer: "unreachable",
    registry.DiskFull: "no_disk",
    registry.StoreBusy: "busy",
}
_PATH = re.compile(r"(?<![\w.:/\\])(?:~|[A-Za-z]:)?(?:[\\/][^\\/\s'\",;:()]+)*[\\/]([^\\/\s'\",;:()]+)")


def fault_of(error: BaseException, files: ModelFiles | None = None) -> Fault:
    """The fault that tells of `error`, and of `files` only their names; of an error that nobody foresaw nothing is told
    but that it happened.
    """
    match error:
        case HostError():
            return error.fault
        case PromptTooLong():
            numbers = {"tokens": error.tokens, "context": error.context, "max_tokens": error.max_tokens or 0}
            return Fault("too_long", str(error), error.hint, numbers=numbers)
        case InvalidParameter():
            return Fault("invalid", str(error), error.hint, field=error.field)
        case NotEnoughMemory():
            numbers = {"needed": error.needed, "available": error.available}
            return Fault("no_memory", str(error), error.hint, numbers=numbers)
        case InvalidPrompt():
            return Fault("invalid", str(error), error.hint, field="prompt")
        case NoTools():
            return Fault("invalid", str(error), error.hint, field="tools")
        case TooManyForms():
            return Fault("busy", str(error), error.hint, retry_after=1.0)
        case BackendRefused() | DeviceNotFound() | DraftMismatch():  # what the server was told, and no request
            return Fault("unavailable", without_folders(str(error), files), error.hint)
        case RuntimeFault():
            return Fault("invalid", without_folders(str(error), files), error.hint)
        case registry.RegistryError():
            return _of_registry(error, files)
        case ModelError():
            return Fault("unavailable", without_folders(str(error), files), _hint(error, files), field="model")
        case MemoryError():
            return Fault("no_memory", "memory ran out", "ask for less at once, or for a shorter context")
    return Fault("internal", UNKNOWN)


def without_folders(text: str, files: ModelFiles | None = None) -> str:
    """`text`, of every path in it only the last part: where things lie on this machine is nobody's business."""
    for folder in sorted(_folders(files), key=len, reverse=True):
        text = text.replace(f"{folder}/", "").replace(f"{folder}\\", "")
    return _PATH.sub(r"\1", text)


def _folders(files: ModelFiles | None) -> Iterable[str]:
    return set() if files is None else {str(path.parent) for path in (*files.weights, *files.files.values())}


def _of_registry(error: registry.RegistryError, files: ModelFiles | None) -> Fault:
    message, hint = without_folders(str(error), files), _hint(error, files)
    kind = _kind_of(error)
    return Fault(kind, message, hint, field="model", retry_after=_SOON if kind == "busy" else None)


def _kind_of(error: registry.RegistryError) -> FaultKind:
    """What one source says of a model weighs more than that others are out of reach."""
    if isinstance(error, registry.NotFetched):
        kinds: list[FaultKind] = [_kind_of(cause) for cause in error.causes]
        return min(kinds, key=lambda kind: kind in ("unreachable", "broken"))
    return next(_REGISTRY[one] for one in type(error).__mro__ if one in _REGISTRY)


def _hint(error: registry.RegistryError | ModelError, files: ModelFiles | None) -> str | None:
    return None if error.hint is None else without_folders(error.hint, files)
