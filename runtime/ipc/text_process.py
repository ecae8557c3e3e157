"""The process between text and tokens: `python -m unillm.runtime.ipc.text_process`. It loads no torch.

It serves any number of models. Whichever thread hears of something new keeps account and tells answers; prompts are
read in a few others, long ones in a lane of their own, so that a prompt of megabytes holds up no answer and no other
prompt. It ends when its parent does.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event, Lock
from time import sleep
from typing import Any, TypeAlias

from msgspec import structs

from ...registry.files import ModelFiles
from ..errors import InvalidParameter, PromptTooLong
from ..grammar.calls import prepare
from ..grammar.compiler import Grammars
from ..hosting.asking import Ask, Fault, Piece
from ..hosting.faults import ENGINE_GONE, fault_of
from ..params import SamplingParams
from ..text.answers.hearing import Hearing
from ..text.answers.tools import Tools
from ..text.defaults import generation_defaults
from ..text.prompting import Prompting
from ..text.template import ChatTemplate
from ..text.tokenizer import Tokenizer, load_tokenizer
from .channel import Channel, connect
from .child import begin
from .messages import (
    Abort,
    Begin,
    Done,
    Embed,
    FromEngine,
    Leave,
    Pieces,
    Serve,
    Served,
    Step,
    Submit,
    TextSetup,
    Told,
    ToText,
    Vectors,
    Work,
    as_files,
)
from .telling import Telling

_LOG = logging.getLogger(__name__)
_LONG = 1 << 16  # characters: a prompt of more is read in the lane of long ones
_READERS = 2
_CONNECT_TRIES = 100  # a tenth of a second apart

Job: TypeAlias = Callable[[], None]


@dataclass(slots=True, eq=False)
class Model:
    """A model that is served: how it reads and writes, and the way to its engine."""

    key: str
    prompting: Prompting
    engine: Channel[FromEngine]
    defaults: Mapping[str, Any]
    grammars: Grammars
    running: dict[int, Telling | None] = field(default_factory=dict)  # None: its prompt is still being read
    work: set[int] = field(default_factory=set)
    counts: dict[int, list[int]] = field(default_factory=dict)  # tokens of what is being embedded
    left: bool = False

    @property
    def tokenizer(self) -> Tokenizer:
        return self.prompting.reader


class TextProcess:
    """What comes is dealt with by the thread that reads it, one at a time; prompts are read in threads of their own."""

    def __init__(self) -> None:
        self._gate = Lock()
        self._front: Channel[ToText] | None = None
        self._models: dict[str, Model] = {}
        self._readers = ThreadPoolExecutor(_READERS, "reads")
        self._long = ThreadPoolExecutor(1, "reads long")
        self._formed = ThreadPoolExecutor(_READERS, "reads forms")
        self._told: list[Told] = []

    def admit(self, connection: Any) -> None:
        """The front has connected."""
        self._front = Channel(connection, ToText, lambda message: self._now(lambda: self._do(message)))
        self._front.start()

    def _now(self, job: Job) -> None:
        """Do it when no other thread does anything, and tell what came of it.

        What it raises ends the process: nobody knows what was half done, and the front has another one started.
        """
        with self._gate:
            try:
                job()
                self._flush()
            except Exception:
                _LOG.critical("ended by a fault of its own", exc_info=True)
                os._exit(1)

    def _do(self, message: ToText | None) -> None:
        match message:
            case Serve():
                self._readers.submit(self._open, message)
            case Leave():
                self._close(message.key)
            case Begin():
                self._begin(message)
            case Abort():
                self._abort(message.number)
            case Work():
                self._work(message)

    def _tell(self, message: Done | Served | Pieces) -> None:
        if self._front is not None:
            self._front.send(message)

    def _flush(self) -> None:
        if self._told:
            self._tell(Pieces(self._told))
            self._told = []

    def _open(self, asked: Serve) -> None:
        """In a reader's thread: load the tokenizer, connect to the engine."""
        try:
            prompting = prompting_of(asked)
            defaults = generation_defaults(as_files(asked.files))
            channel: Channel[FromEngine] = Channel(
                _connected(asked), FromEngine, lambda said: self._now(lambda: self._heard(model, said))
            )
        except Exception as error:  # a door: what is wrong with a model's files is told to who wants it
            self._tell(Served(asked.key, _told_of(error, as_files(asked.files))))
            return
        model = Model(asked.key, prompting, channel, defaults, grammars_of(prompting))
        self._now(lambda: self._opened(model))

    def _opened(self, model: Model) -> None:
        self._models[model.key] = model
        model.grammars.make_ready()
        model.engine.start()
        self._tell(Served(model.key))

    def _close(self, key: str) -> None:
        model = self._models.pop(key, None)
        if model is not None:
            self._break_off(model)
            model.engine.close()

    def _break_off(self, model: Model) -> None:
        model.left = True
        for number in list(model.running):
            self._told.append(Told(number, Piece(finish_reason="error", fault=ENGINE_GONE)))
        for number in model.work:
            self._tell(Done(number=number, fault=ENGINE_GONE))
        model.running.clear()
        model.work.clear()

    def _begin(self, asked: Begin) -> None:
        model = self._models.get(asked.key)
        if model is None:
            self._told.append(Told(asked.number, Piece(finish_reason="error", fault=ENGINE_GONE)))
            return
        model.running[asked.number] = None
        self._lane(asked.ask).submit(self._read, model, asked)

    def _lane(self, ask: Ask) -> Executor:
        if ask.params.form is not None:
            return self._formed
        said = sum(len(str(one.get("content"))) for one in ask.messages or ())
        return self._long if said + len(ask.text or "") > _LONG else self._readers

    def _read(self, model: Model, asked: Begin) -> None:
        """In a reader's thread."""
        try:
            prompting = bounded(model.prompting, asked.ask)
            ids, gone = read_prompt(prompting, asked.ask)
            hearing = heard(prompting, asked.ask, ids)
            params = fitted(chosen(asked.ask, model.defaults), len(ids), prompting.context)
            tools = tools_of(asked.ask)
            params = prompting.held(ids, params, tools)
            if params.form is not None:
                prepare(model.grammars, params.form, tools)  # what cannot be followed is refused here, before any piece
        except Exception as error:  # a door: what is wrong with one prompt is told to who sent it
            fault = _told_of(error)
            self._now(lambda: self._refuse(model, asked.number, fault))
            return
        telling = Telling(asked.ask, model.tokenizer, ids, hearing)
        self._now(lambda: self._submit(model, asked, telling, Piece(prompt_tokens=ids, truncated=gone), params))

    def _refuse(self, model: Model, number: int, fault: Fault) -> None:
        if model.running.pop(number, _MISSING) is not _MISSING:
            self._told.append(Told(number, Piece(finish_reason="error", fault=fault)))

    def _submit(self, model: Model, asked: Begin, telling: Telling, first: Piece, params: SamplingParams) -> None:
        if asked.number not in model.running:  # aborted meanwhile
            return
        model.running[asked.number] = telling
        self._told.append(Told(asked.number, first))
        model.engine.send(Submit(asked.number, first.prompt_tokens or [], params, asked.ask.priority))

    def _abort(self, number: int) -> None:
        for model in self._models.values():
            if model.running.pop(number, None) is not None:
                model.engine.send(Abort(number))

    def _heard(self, model: Model, said: FromEngine | None) -> None:
        match said:
            case Step():
                for fresh in said.tokens:
                    telling = model.running.get(fresh.number)
                    if telling is not None:
                        self._continue(model, telling, fresh)
            case Vectors():
                if said.number in model.work:
                    model.work.remove(said.number)
                    counts = model.counts.pop(said.number, [])
                    self._tell(Done(number=said.number, vectors=said.vectors, tokens=counts, fault=said.fault))
            case None if not model.left:
                self._models.pop(model.key, None)
                self._break_off(model)

    def _continue(self, model: Model, telling: Telling, fresh: Any) -> None:
        pieces, leave = telling.take(fresh)
        if leave:
            model.engine.send(Abort(fresh.number, fresh.choice))
        self._told += [Told(fresh.number, piece) for piece in pieces]
        if telling.is_over or (fresh.fault is not None and fresh.usage is None):
            model.running.pop(fresh.number, None)

    def _work(self, asked: Work) -> None:
        model = self._models.get(asked.key)
        if model is None:
            self._tell(Done(number=asked.number, fault=ENGINE_GONE))
            return
        model.work.add(asked.number)
        (self._long if len(asked.text) > _LONG else self._readers).submit(self._work_at, model, asked)

    def _work_at(self, model: Model, asked: Work) -> None:
        """In a reader's thread."""
        try:
            result: Done | Embed = worked(model.prompting, asked)
        except Exception as error:  # a door, as above
            result = Done(number=asked.number, fault=_told_of(error))
        self._now(lambda: self._worked(model, result))

    def _worked(self, model: Model, result: Done | Embed) -> None:
        if result.number not in model.work:
            return
        if isinstance(result, Embed):
            model.counts[result.number] = [len(ids) for ids in result.inputs]
            model.engine.send(result)
            return
        model.work.remove(result.number)
        self._tell(result)


_MISSING = object()


def prompting_of(asked: Serve) -> Prompting:
    """How the model's own files say that prompts are made."""
    files = as_files(asked.files)
    tokenizer = load_tokenizer(files)
    return Prompting(files.name, tokenizer, ChatTemplate.find(files), asked.context, files.system, files.messages)


def grammars_of(prompting: Prompting) -> Grammars:
    """What forms are tried on, before an engine is asked to follow them."""
    size = 0 if prompting.tokenizer is None else prompting.tokenizer.vocab_size
    return Grammars(prompting.name, prompting.tokenizer, size)


def bounded(prompting: Prompting, ask: Ask) -> Prompting:
    """How prompts are made for `ask`: within its own bound, with its own template."""
    template = prompting.template if ask.template is None else ChatTemplate(ask.template, prompting.name)
    return replace(prompting, context=min(ask.context or prompting.context, prompting.context), template=template)


def chosen(ask: Ask, defaults: Mapping[str, Any]) -> Ask:
    """`ask`, what is usual put in where neither it nor the model chooses."""
    if ask.usual_together and (ask.params.temperature is not None or "temperature" in defaults):
        return ask
    usual = {name: value for name, value in ask.usual.items() if name not in defaults}
    return structs.replace(ask, params=ask.params.over(usual)) if usual else ask


def read_prompt(prompting: Prompting, ask: Ask) -> tuple[list[int], int]:
    """The token ids of what was asked, and how many were left out so that it fits."""
    if ask.before:
        return _continued(prompting, ask)
    if ask.messages is not None and is_conversation(prompting, ask):
        return prompting.conversation(ask.messages, tools_of(ask), ask.variables, truncate=ask.truncate)
    if ask.tokens is not None:
        return prompting.ids(ask.tokens, truncate=ask.truncate)
    if ask.suffix is not None:
        return prompting.around(ask.text or "", ask.suffix), 0
    return prompting.text(ask.text or "", truncate=ask.truncate)


def is_conversation(prompting: Prompting, ask: Ask) -> bool:
    """Whether a template writes the prompt."""
    return ask.messages is not None and (prompting.template is not None or ask.text is None)


def tools_of(ask: Ask) -> Tools:
    """Raises `InvalidParameter` for what are none."""
    tools = Tools(ask.tools, ask.tool_choice, ask.parallel_calls, ask.calls_in_parts)
    tools.check()
    return tools


def heard(prompting: Prompting, ask: Ask, prompt: Sequence[int]) -> Hearing | None:
    """How the answers are read; None where all of them is words."""
    return prompting.hears(prompt, tools_of(ask)) if is_conversation(prompting, ask) else None


def _continued(prompting: Prompting, ask: Ask) -> tuple[list[int], int]:
    """The prompt behind the tokens before it; where both do not fit, the oldest of those go."""
    ids, gone = read_prompt(prompting, structs.replace(ask, before=[]))
    begins = ids[:1] == [prompting.reader.bos_id] and ask.before[0] == ids[0]
    whole, cut = prompting.ids([*ask.before, *ids[begins:]], truncate=ask.truncate)
    return whole, gone + cut


def fitted(ask: Ask, prompt: int, context: int) -> SamplingParams:
    """The parameters that the engine gets: without stop strings, which are text, and with no more than may fit."""
    params = replace(ask.params, stop=())
    if params.max_tokens is None and ask.context is not None:
        return replace(params, max_tokens=context - prompt)
    if params.max_tokens is None or prompt + params.max_tokens <= context:
        return params
    if not ask.fit:
        raise PromptTooLong(prompt, context, params.max_tokens)
    return replace(params, max_tokens=context - prompt)


def worked(prompting: Prompting, asked: Work) -> Done | Embed:
    """Do what needs no engine; what needs one is prepared for it."""
    reader = prompting.reader
    match asked.kind:
        case "encode":
            return Done(number=asked.number, tokens=reader.encode(asked.text, special=asked.special))
        case "decode":
            return Done(number=asked.number, text=reader.decode(asked.tokens, skip_special=False))
        case "count" if asked.ask is not None:
            return Done(number=asked.number, tokens=read_prompt(bounded(prompting, asked.ask), asked.ask)[0])
        case "render" if asked.ask is not None:
            ids = read_prompt(bounded(prompting, asked.ask), asked.ask)[0]
            return Done(number=asked.number, text=reader.decode(ids, skip_special=False))
        case "embed":
            return Embed(asked.number, [_embeddable(prompting, one, asked.truncate) for one in asked.inputs])
    raise InvalidParameter("kind", asked.kind, "encode, decode, count, render or embed")


def _embeddable(prompting: Prompting, one: str | list[int], truncate: bool) -> list[int]:
    read = prompting.text(one, truncate=truncate) if isinstance(one, str) else prompting.ids(one, truncate=truncate)
    return read[0]


def _connected(asked: Serve) -> Any:
    """A connection to the model's engine, which may be about to listen."""
    for _ in range(_CONNECT_TRIES):
        try:
            return connect(asked.engine)
        except OSError:
            sleep(0.1)
    return connect(asked.engine)


def _told_of(error: BaseException, files: ModelFiles | None = None) -> Fault:
    fault = fault_of(error, files)
    if fault.kind == "internal":
        _LOG.error("a request failed", exc_info=error)
    return fault


def main() -> None:
    process = TextProcess()
    begin("text", TextSetup, process.admit)
    Event().wait()


if __name__ == "__main__":
    main()
