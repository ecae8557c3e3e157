"""A model that answers, wherever it runs: one face over an engine in this process and one of a running server.

What a command asks is the same for both: text or a conversation, and parameters. Who speaks is decided here, once.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ..runtime.errors import PromptTooLong, ServerRefused
from ..runtime.params import SamplingParams
from ..runtime.results import Completion, Update
from ..runtime.text.answers.thoughts import wished
from .asking import is_for_here, loaded
from .client import Opened, open_engine
from .errors import UsageError
from .serving import find_server
from .session import Session
from .settings import Settings

if TYPE_CHECKING:
    from ..runtime.client.sync import Client
    from ..runtime.client.wire import ShownModel, Think

Message: TypeAlias = Mapping[str, str]
Said: TypeAlias = str | Sequence[Message]

# How people's chat programs sample where a model says nothing of it. The engine's own default is the bare distribution,
# from which a small model picks nonsense.
USUAL = {"temperature": 0.8, "top_k": 40, "top_p": 0.9}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer on its way. `stop` ends it soon: it takes no lock, so that a signal handler may call it.

    Whoever leaves off in the middle calls `close`.
    """

    updates: Iterator[Update]
    stop: Callable[[], None]
    close: Callable[[], None]


class Speaker(Protocol):
    """A model that is loaded. `context` is in tokens, `load_seconds` how long the loading took."""

    @property
    def name(self) -> str: ...
    @property
    def context(self) -> int: ...
    @property
    def load_seconds(self) -> float: ...
    @property
    def converses(self) -> bool:
        """Whether it knows how to write down a conversation; otherwise it continues text."""
        ...

    @property
    def thinks(self) -> bool:
        """Whether it may think before it speaks."""
        ...

    def answer(self, said: Said, params: SamplingParams, *, raw: bool = False, think: "Think | None" = None) -> Answer:
        """Text is a conversation's first words unless it is `raw`, or the model has no chat template.

        `think` has the model think first or not, or says how hard; None is as it likes. Raises `ThinksNot`.
        """
        ...

    def check(self, params: SamplingParams) -> None:
        """Raise what asking with `params` would: a schema may be none that an answer can follow."""
        ...

    def count(self, said: Sequence[Message]) -> int | None:
        """How many tokens a conversation has; None of one that is longer than the context."""
        ...

    def why_cut(self, completion: Completion) -> str:
        """What ended an answer that nobody limited."""
        ...


@contextmanager
def open_speaker(
    session: Session, settings: Settings, server: "Client | None", context: int | None = None
) -> Iterator[Speaker]:
    """The model of the settings, loaded by `server`, or in this process where there is none.

    `context` is the one that a server is asked for.
    """
    if server is None:
        with open_engine(session, settings) as opened:
            yield Here(opened)
    else:
        with server:
            yield There(server, *loaded(session, server, settings.model, context))


def choose_server(
    session: Session, settings: Settings, host: str | None, own: Mapping[str, object], *, local: bool
) -> "Client | None":
    """The server that answers; None where this process does: it was asked to, or has to, or nobody else is there.

    `own` are the flags that say how a model is loaded here; those that are None were not given.
    """
    given = [name for name, value in own.items() if value is not None]
    if host is not None and (local or given):
        flag = "local" if local else given[0].replace("_", "-")
        raise UsageError(f"--host and --{flag} exclude each other", f"--{flag} is for a model in this process")
    if local or given or (host is None and is_for_here(settings.model)):
        return None
    return find_server(session, host)


@dataclass(frozen=True, slots=True)
class Here:
    """An engine in this process."""

    opened: Opened

    @property
    def name(self) -> str:
        return self.opened.name

    @property
    def context(self) -> int:
        return self.opened.engine.context

    @property
    def load_seconds(self) -> float:
        return self.opened.load_seconds

    @property
    def converses(self) -> bool:
        return self.opened.engine.has_chat_template

    @property
    def thinks(self) -> bool:
        return self.opened.engine.thinks

    def answer(self, said: Said, params: SamplingParams, *, raw: bool = False, think: "Think | None" = None) -> Answer:
        check_thinking(self, think, raw=raw)
        engine, params = self.opened.engine, usual(params, self.opened.engine.defaults)
        if isinstance(said, str) and (raw or not self.converses):
            stream = engine.stream(said, params)
        else:
            stream = engine.chat(_conversation(said), params, stream=True, **wished(think))
        return Answer(stream, lambda: engine.abort(stream.id, wait=False), stream.close)

    def check(self, params: SamplingParams) -> None:
        self.opened.engine.prepare(params)

    def count(self, said: Sequence[Message]) -> int | None:
        try:
            return self.opened.engine.count(said)
        except PromptTooLong:
            return None

    def why_cut(self, completion: Completion) -> str:
        usage = completion.usage
        if usage.prompt_tokens + usage.completion_tokens >= self.context:
            return f"the answer was cut: the context of {self.context} tokens is full; --context makes it longer"
        own = f"the model's own limit of {usage.completion_tokens} tokens"
        return f"the answer was cut at {own}; --max-tokens asks for more"


@dataclass(frozen=True)
class There:
    """A model that a server has loaded. What it can do is asked when somebody wants to know."""

    client: "Client"
    name: str
    context: int
    load_seconds: float

    @property
    def converses(self) -> bool:
        return bool(self._shown.template)

    @property
    def thinks(self) -> bool:
        return "thinking" in self._shown.capabilities

    def answer(self, said: Said, params: SamplingParams, *, raw: bool = False, think: "Think | None" = None) -> Answer:
        from ..runtime.client.wire import Reading, question  # late: it brings what talks to servers

        check_thinking(self, think, raw=raw)
        asked = question(self.name, said, params, raw=raw, usual=True, think=think)
        reading = Interruptible(self.client.read(asked, Reading("")))
        return Answer(reading, reading.stop, reading.close)

    def check(self, params: SamplingParams) -> None:
        """A server tells only whom it answers: it is asked for a token."""
        self.client.generate(" ", replace(params, max_tokens=1), model=self.name, raw=True)

    def count(self, said: Sequence[Message]) -> int | None:
        try:
            return self.client.count(said, model=self.name)
        except ServerRefused as error:
            if error.kind != "too_long":
                raise
            return None

    def why_cut(self, completion: Completion) -> str:
        cut = f"the answer was cut after {completion.usage.completion_tokens} tokens"
        return f"{cut}: the context is full, or a limit"

    @cached_property
    def _shown(self) -> "ShownModel":
        return self.client.show(self.name)


class ThinksNot(UsageError):
    """A model shall think that does not know how to."""

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} does not think: its chat template has no place for thoughts")
        self.model = model


def check_thinking(speaker: Speaker, think: "Think | None", *, raw: bool = False) -> None:
    """Raise `ThinksNot` where a wish to have it think cannot come true; not to think is easy for every model."""
    if think and (raw or not speaker.thinks):
        raise ThinksNot(speaker.name)


def usual(params: SamplingParams, stated: Mapping[str, Any]) -> SamplingParams:
    """`params`, and where neither the user nor the model chose a temperature the usual ones, but for what it states."""
    if params.temperature is not None or "temperature" in stated:
        return params
    return params.over({name: stated.get(name, value) for name, value in USUAL.items()})


def _conversation(said: Said) -> Sequence[Message]:
    return [{"role": "user", "content": said}] if isinstance(said, str) else said


class _Left(BaseException):
    """Nobody wants the rest. Nothing that reads from a server mistakes it for an error of its own."""


class Interruptible(Iterator[Update]):
    """A server's updates, until `stop`: nothing of ours is in the midst of anything while they are waited for."""

    def __init__(self, updates: Generator[Update, None, None]) -> None:
        self._updates = updates
        self._waits = self._left = False

    def __next__(self) -> Update:
        try:
            self._waits = not self._left
            if self._left:
                raise StopIteration
            return next(self._updates)
        except _Left:
            raise StopIteration from None
        finally:
            self._waits = False

    def stop(self) -> None:
        self._left = True
        if self._waits:
            raise _Left

    def close(self) -> None:
        self._updates.close()
