"""What can be wrong with a request, a device or an engine: each a value with data, worded at the door."""

from collections.abc import Sequence


class RuntimeFault(Exception):
    """The base of all that `runtime` raises at a user's mistake or a machine's limit. `hint` says what to do next."""

    hint: str | None = None


class PromptTooLong(RuntimeFault):
    """A prompt, or the prompt and the tokens asked for, can never fit the context.

    Where not all of it was `counted`, it has more than `tokens`.
    """

    def __init__(self, tokens: int, context: int, max_tokens: int | None = None, *, counted: bool = True) -> None:
        asked = "" if max_tokens is None else f" and {max_tokens} more are asked for"
        many = f"{tokens} tokens" if counted else f"more than {tokens} tokens"
        super().__init__(f"the prompt has {many}{asked}; the context holds {context}")
        self.tokens, self.context, self.max_tokens, self.counted = tokens, context, max_tokens, counted
        room = context - tokens
        self.hint = (
            f"ask for at most {room} tokens" if max_tokens and room > 0 else "shorten the prompt or raise the context"
        )


class PoolTooSmall(RuntimeFault):
    """A request whose keys and values can never fit the pages there are, even alone."""

    def __init__(self, tokens: int, capacity: int) -> None:
        super().__init__(f"the request needs room for {tokens} tokens; the cache holds {capacity}")
        self.tokens, self.capacity = tokens, capacity
        self.hint = "ask for fewer tokens or give the cache more memory"


class InvalidParameter(RuntimeFault):
    """A sampling parameter or an option out of its range."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field} is {value!r}; it must be {allowed}")
        self.field, self.value, self.allowed = field, value, allowed


class TooManyForms(RuntimeFault):
    """What an answer must look like could not be looked at: others' forms take all the time there is for that."""

    def __init__(self, waited: float) -> None:
        super().__init__(f"the form of the answer waited {waited:g} seconds behind those of others")
        self.hint = "ask again in a moment"


class InvalidPrompt(RuntimeFault):
    """A prompt that no model can read: empty, or with ids that are not in the vocabulary."""


class DeviceNotFound(RuntimeFault):
    """The device asked for is not on this machine."""

    def __init__(self, device: str, present: Sequence[str]) -> None:
        super().__init__(f"there is no device {device!r} here; there is {', '.join(present)}")
        self.device, self.present = device, tuple(present)
        self.hint = f"choose {' or '.join(present)}, or auto"


class BackendRefused(RuntimeFault):
    """An attention backend that was chosen cannot attend here."""

    def __init__(self, name: str, phase: str, reason: str, hint: str = "choose another, or auto") -> None:
        super().__init__(f"{name} cannot attend {phase}: {reason}")
        self.name, self.phase, self.reason = name, phase, reason
        self.hint = hint


class NotEnoughMemory(RuntimeFault):
    """Something does not fit into the memory that is left; said before it is tried."""

    def __init__(self, needed: int, available: int, what: str = "the model") -> None:
        super().__init__(f"{what} needs {_size(needed)} of memory; {_size(available)} are available")
        self.needed, self.available, self.what = needed, available, what
        self.hint = "choose a smaller model or quantisation, or a shorter context"


class ContextTooLong(RuntimeFault):
    """A context beyond the length that the model was trained for."""

    def __init__(self, context: int, trained: int) -> None:
        super().__init__(f"a context of {context} tokens was asked for; the model was trained for {trained}")
        self.context, self.trained = context, trained
        self.hint = f"ask for a context of at most {trained}"


class NoTokenizer(RuntimeFault):
    """Text was given, or stop strings, but the model's files hold no tokenizer."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} has no tokenizer: it takes token ids, not text or stop strings")
        self.model = model


class NoTokenBytes(RuntimeFault):
    """An answer was to be held to a form, but nothing tells which text each token of this model stands for."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} cannot be held to a form: its tokenizer does not tell the bytes of its tokens")
        self.model = model
        self.hint = "leave out schema, regex, choice and grammar"


class NoChatTemplate(RuntimeFault):
    """A conversation was given, but nothing says how this model writes one."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} has no chat template")
        self.model = model
        self.hint = "give it plain text instead (generate, or --raw)"


class NoTools(RuntimeFault):
    """Tools were offered to a model of which nothing says how it calls any."""

    def __init__(self, model: str) -> None:
        super().__init__(f'"{model}" does not support tools')
        self.model = model
        self.hint = "ask without tools, or ask a model whose chat template knows them"


class DraftMismatch(RuntimeFault):
    """A draft model that reads other tokens than the model it is to guess for."""

    def __init__(self, draft: str, model: str, difference: str) -> None:
        super().__init__(f"{draft} cannot draft for {model}: their vocabularies differ: {difference}")
        self.draft, self.model, self.difference = draft, model, difference
        self.hint = "choose a smaller model of the same family"


class CannotSleep(RuntimeFault):
    """An engine was to part with weights that nobody could read again."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} cannot sleep: it was not loaded from files, so that nothing could wake it")
        self.model = model
        self.hint = "load it by its name or its folder, and a draft model too; or close it"


class UnknownRequest(RuntimeFault):
    """An id that no request has which is still under way, or whose updates are still to be read."""

    def __init__(self, id: str) -> None:  # noqa: A002 - the name that results give it
        super().__init__(f"there is no request {id!r}")
        self.id = id


class NonFiniteLogits(RuntimeFault):
    """The model's scores for one request are not numbers; that request ends, others go on."""

    def __init__(self, position: int) -> None:
        super().__init__(f"non-finite logits after token {position}")
        self.position = position


class GrammarFailed(RuntimeFault):
    """What one answer is held to allows nothing more, or takes too long to work out; it ends, others go on."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the answer cannot go on as its form demands: {reason}")
        self.reason = reason


class InjectedFault(RuntimeFault):
    """A fault that somebody asked for, to see what comes of it."""

    def __init__(self, place: str) -> None:
        super().__init__(f"a fault was injected at {place}")
        self.place = place
        self.hint = "unset UNILLM_FAULTS to be without"


class EngineClosed(RuntimeFault):
    """The engine was closed; its model and cache are gone."""

    def __init__(self, model: str) -> None:
        super().__init__(f"the engine of {model} is closed")
        self.model = model


def _size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(amount) < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


class PeerFailed(RuntimeFault):
    """Another program that this one is compared with did not do its part."""

    def __init__(self, peer: str, what: str, reason: str) -> None:
        super().__init__(f"{peer}: {what}: {reason}")
        self.peer, self.what, self.reason = peer, what, reason


class NotWritable(RuntimeFault):
    """A model that the format which was asked for cannot hold."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"{model} cannot be written as GGUF: {reason}")
        self.model, self.reason = model, reason


class ServerUnreachable(RuntimeFault):
    """There is no server of ours at that address, or it does not answer."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"no server answers at {url}: {reason}")
        self.url, self.reason = url, reason
        self.hint = "start one: unillm serve"


class ServerRefused(RuntimeFault):
    """A server said no. `kind` is the family of what is wrong (invalid, not_found, busy ...): see `hosting.asking`."""

    def __init__(self, kind: str, message: str, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.status = kind, status
        self.hint = hint
