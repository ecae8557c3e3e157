"""The process that computes for one model: `python -m unillm.runtime.ipc.engine_process`.

One thread turns the engine and nothing else. Others read what comes and write what goes; how the engine is, they answer
themselves, so that one can ask while a step takes its time. It ends when its parent does.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import inf
from queue import Empty, SimpleQueue
from threading import Lock
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

from ...registry.files import ModelFiles
from ..hosting.faults import fault_of
from ..results import TokenLogprob, Update
from ..torch_import import import_torch
from .channel import Channel
from .child import begin
from .messages import (
    Abort,
    Broken,
    Embed,
    Loaded,
    Logprob,
    Report,
    Reported,
    Setup,
    Step,
    Submit,
    ToEngine,
    Tokens,
    Vectors,
    as_files,
)

if TYPE_CHECKING:
    from ..engine import Engine

_LOG = logging.getLogger(__name__)
_MEASURED_EVERY = 0.25  # seconds: how old what is told of a busy engine may be
_PREPARERS = 2
_HELD = 0.05  # seconds: nobody sees text come sooner, and whatever is told wakes three other processes


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request whose form is worked out, or the error that says why not."""

    asked: Submit
    error: Exception | None


class Peer:
    """Somebody connected: the requests that came from there, and what is to be told of them.

    While steps are fast what several of them did is told at once, unless an answer begins or ends. `silent` are answers
    of which nothing was told.
    """

    def __init__(self, connection: Any, process: "EngineProcess") -> None:
        self.ids: dict[int, tuple[str, ...]] = {}
        self.preparing: set[int] = set()
        self.silent: set[tuple[int, int]] = set()
        self._fresh: dict[tuple[int, int], Tokens] = {}
        self._told = 0.0
        self.channel: Channel[ToEngine] = Channel(connection, ToEngine, lambda message: process.hear(self, message))

    def add(self, new: Tokens) -> None:
        answer = (new.number, new.choice)
        before = self._fresh.get(answer)
        self._fresh[answer] = new if before is None else before.and_then(new)

    def flush(self, *, until_next: float) -> None:
        """Tell what is fresh, unless it can wait for what comes in `until_next` seconds."""
        if self._fresh and monotonic() - self._told + until_next > _HELD:
            self.channel.send(Step(list(self._fresh.values())))
            self._fresh, self._told = {}, monotonic()


class EngineProcess:
    """The engine, and who is connected to it."""

    def __init__(self) -> None:
        self._inbox: SimpleQueue[tuple[Peer, ToEngine | Prepared | None]] = SimpleQueue()
        self._preparers = ThreadPoolExecutor(_PREPARERS, "prepares")
        self._peers: list[Peer] = []
        self._askers: dict[str, tuple[Peer, int, int]] = {}
        self._gate = Lock()
        self._state: Loaded | Broken | None = None
        self._stats: dict[str, Any] = {}
        self._measured = 0.0
        self._turning_since: float | None = None

    def admit(self, connection: Any) -> None:
        """Somebody connected; what there is to know of the model is told at once, or when it is known."""
        peer = Peer(connection, self)
        with self._gate:
            self._peers.append(peer)
            if self._state is not None:
                peer.channel.send(self._state)
        peer.channel.start()

    def hear(self, peer: Peer, message: ToEngine | None) -> None:
        """Something came, in the thread that reads it."""
        if isinstance(message, Report):
            since = self._turning_since
            peer.channel.send(Reported(self._stats, 0.0 if since is None else monotonic() - since))
        else:
            self._inbox.put((peer, message))

    def announce(self, state: Loaded | Broken) -> None:
        with self._gate:
            self._state = state
            for peer in self._peers:
                peer.channel.send(state)

    def turn(self, engine: "Engine") -> None:
        """Compute, for ever."""
        while True:
            self._listen(engine)
            self._turning_since = monotonic()
            engine.step()
            took = monotonic() - self._turning_since
            self._turning_since = None
            self._hand_out(engine, until_next=took)

    def turn_nobody(self) -> None:
        """There is no engine: wait for the end."""
        while True:
            self._inbox.get()

    def _listen(self, engine: "Engine") -> None:
        """Do what was asked for, and while there is nothing to compute wait for it."""
        with suppress(Empty):
            while True:
                if not self._askers or monotonic() - self._measured > _MEASURED_EVERY:
                    self._measure(engine)
                peer, message = self._inbox.get(block=not self._askers)
                self._do(engine, peer, message)
                self._hand_out(engine, until_next=inf)  # what was asked for may take its time

    def _measure(self, engine: "Engine") -> None:
        self._stats, self._measured = asdict(engine.stats()), monotonic()

    def _do(self, engine: "Engine", peer: Peer, message: ToEngine | Prepared | None) -> None:
        match message:
            case Submit() if message.params.form is not None:
                peer.preparing.add(message.number)
                self._preparers.submit(self._prepare, engine, peer, message)
            case Prepared():
                self._submit_prepared(engine, peer, message)
            case Submit():
                self._submit(engine, peer, message)
            case Abort():
                self._abort(engine, peer, message)
            case Embed():
                self._embed(engine, peer, message)
            case None:
                self._forget(engine, peer)

    def _prepare(self, engine: "Engine", peer: Peer, asked: Submit) -> None:
        """In a thread of its own: what takes its time holds up no step."""
        error = None
        try:
            engine.prepare(asked.params)
        except Exception as why:  # a door, as below
            error = why
        self._inbox.put((peer, Prepared(asked, error)))

    def _submit_prepared(self, engine: "Engine", peer: Peer, prepared: Prepared) -> None:
        number = prepared.asked.number
        if number not in peer.preparing:  # aborted meanwhile
            return
        peer.preparing.remove(number)
        if prepared.error is None:
            self._submit(engine, peer, prepared.asked)
        else:
            self._refuse(peer, number, prepared.error)

    def _submit(self, engine: "Engine", peer: Peer, asked: Submit) -> None:
        try:
            ids = engine.submit_each(asked.tokens, asked.params, priority=asked.priority)
        except Exception as error:  # a door: whatever is wrong with a request is told to who sent it
            self._refuse(peer, asked.number, error)
            return
        peer.ids[asked.number] = ids
        peer.silent |= {(asked.number, choice) for choice in range(len(ids))}
        self._askers |= {known: (peer, asked.number, choice) for choice, known in enumerate(ids)}

    def _refuse(self, peer: Peer, number: int, error: Exception) -> None:
        _log_unforeseen(error)
        peer.add(Tokens(number, 0, [], finish_reason="error", fault=fault_of(error)))

    def _abort(self, engine: "Engine", peer: Peer, asked: Abort) -> None:
        peer.preparing.discard(asked.number)
        ids = peer.ids.get(asked.number, ())
        for choice, known in enumerate(ids):
            if asked.choice in (None, choice):
                engine.abort(known)

    def _embed(self, engine: "Engine", peer: Peer, asked: Embed) -> None:
        try:
            peer.channel.send(Vectors(asked.number, engine.embed(asked.inputs)))
        except Exception as error:  # a door, as above
            _log_unforeseen(error)
            peer.channel.send(Vectors(asked.number, [], fault_of(error)))

    def _forget(self, engine: "Engine", peer: Peer) -> None:
        """Who was connected has gone: nobody wants what it asked for."""
        with self._gate:
            self._peers.remove(peer)
        peer.preparing.clear()
        for ids in peer.ids.values():
            for known in ids:
                engine.abort(known)

    def _hand_out(self, engine: "Engine", *, until_next: float) -> None:
        for update in engine.poll():
            peer, number, choice = self._askers[update.id]
            peer.add(_tokens(update, number, choice))
            if (number, choice) in peer.silent:
                until_next = inf
                peer.silent.remove((number, choice))
            if update.completion is not None:
                until_next = inf
                _log_unforeseen(update.completion.error)
                del self._askers[update.id]
                if not any(known in self._askers for known in peer.ids[number]):
                    del peer.ids[number]
        for peer in self._peers:
            peer.flush(until_next=until_next)


def main() -> None:
    process = EngineProcess()
    setup = begin("engine", Setup, process.admit)
    try:
        engine, loaded = load(setup)
    except Exception as error:  # a door: why a model does not load is told to who wants it
        _log_unforeseen(error)
        process.announce(Broken(fault_of(error, as_files(setup.files))))
        process.turn_nobody()
        return
    process.announce(loaded)
    engine.prepare_forms()
    process.turn(engine)


def load(setup: Setup) -> "tuple[Engine, Loaded]":
    """The engine, torch being imported only now."""
    began = perf_counter()
    import_torch()
    from ..engine import Engine
    from ..options import EngineOptions

    files: ModelFiles = as_files(setup.files)
    engine = Engine.load(files, options=EngineOptions(**setup.options))
    return engine, Loaded(
        context=engine.context,
        vocabulary=engine.vocabulary,
        device=engine.device,
        kernels=engine.kernels,
        trained=engine.model.config.context,
        bytes_held=engine.weight_bytes,
        cache_bytes=engine.stats().kv_budget,
        seconds=perf_counter() - began,
    )


def _tokens(update: Update, number: int, choice: int) -> Tokens:
    done = update.completion
    return Tokens(
        number,
        choice,
        list(update.token_ids),
        _plain(update.logprobs),
        update.finish_reason,
        None if done is None else done.usage,
        None if done is None else done.timings,
        None if done is None else _plain(done.prompt_logprobs),
        None if done is None or done.error is None else fault_of(done.error),
        formed=done is not None and done.formed,
    )


def _plain(logprobs: tuple[TokenLogprob, ...] | None) -> list[Logprob] | None:
    if logprobs is None:
        return None
    return [
        Logprob(one.token_id, one.logprob, [(other.token_id, other.logprob) for other in one.top]) for one in logprobs
    ]


def _log_unforeseen(error: BaseException | None) -> None:
    if error is not None and fault_of(error).kind == "internal":
        _LOG.error("a request failed", exc_info=error)


if __name__ == "__main__":
    main()
