"""An exception as a fault: what may be said of it outside this process. Paths and internals stay inside."""

from ...registry.errors import RegistryError
from ..errors import InvalidParameter, InvalidPrompt, NotEnoughMemory, PromptTooLong, RuntimeFault
from .asking import Fault, HostError

UNKNOWN = "something went wrong inside; the server's log says more"


def fault_of(error: BaseException) -> Fault:
    """The fault that tells of `error`; of one that nobody foresaw nothing is told but that it happened."""
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
        case RuntimeFault():
            return Fault("invalid", str(error), error.hint)
        case RegistryError():
            return _of_registry(error)
        case MemoryError():
            return Fault("no_memory", "memory ran out", "ask for less at once, or for a shorter context")
    return Fault("internal", UNKNOWN)


def _of_registry(error: RegistryError) -> Fault:
    from ...registry import errors as known

    if isinstance(error, known.ModelNotFound):
        return Fault("not_found", str(error), error.hint, field="model")
    if isinstance(error, known.InvalidName):
        return Fault("invalid", str(error), error.hint, field="model")
    return Fault("unavailable", str(error), error.hint, field="model")
