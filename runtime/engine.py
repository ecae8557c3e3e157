"""One model that answers: prompts in, text out, many at once, from any thread.

    with Engine.load("smollm2:135m") as engine:
        print(engine.generate("Once upon a time", SamplingParams(max_tokens=50)).text)

The engine is the face of what stands behind it: the intake makes requests of prompts, the desk takes turns, the wheel
computes and chooses, the scheduler says what runs when.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, overload

import torch
from torch import Tensor

from ..models.contract import Model
from ..registry.events import Listener
from ..registry.files import Message as SaidBefore
from ..registry.files import ModelFiles
from .assembly import assemble
from .builder import EngineBuilder
from .desk import Desk
from .embedding import embed
from .errors import EngineClosed, InvalidParameter, PromptTooLong, UnknownRequest
from .faults import Fault, Faults
from .grammar.compiler import Grammars
from .intake import Intake, Message, Params
from .kv.budget import MemoryBudget
from .kv.pages import Sharing
from .loading import load_draft, load_parts
from .options import EngineOptions
from .params import SamplingParams
from .prompts import Prompt, Prompts, is_single
from .request import Request
from .results import Completion, Progress, Stats, Update
from .sleeping import Sleeper
from .stream import Stream
from .text.answers.hearing import Hearing
from .text.answers.tools import Tools
from .text.prompting import Prompting
from .text.template import ChatTemplate
from .text.tokenizer import Tokenizer


class Engine:
    """A loaded model and its cache. `close` it, or use it in a `with`, to give their memory back.

    `kernels` is the instruction set of the CPU kernels that compute; None where plain torch does. `draft` is a smaller
    model of the same vocabulary, which guesses ahead of this one. `system` and `messages` begin every conversation.
    `again` read the weights once more, the model's and the draft's: then it can sleep.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer | None = None,
        template: ChatTemplate | None = None,
        *,
        name: str = "the model",
        defaults: Mapping[str, Any] | None = None,
        ends: Collection[int] | None = None,
        options: EngineOptions | None = None,
        draft: Model | None = None,
        system: str | None = None,
        messages: Sequence[SaidBefore] = (),
        again: Sequence[Callable[[], Model]] = (),
    ) -> None:
        chosen = options or EngineOptions()
        if chosen.draft_model is not None and draft is None:
            raise InvalidParameter("draft", chosen.draft, "'ngram' or 'off', or loaded: Engine.load, or `draft` here")
        wheel, context = assemble(model, chosen, draft)
        desk = Desk(wheel, name, Sleeper(wheel, name, again))
        if ends is None:
            ends = tokenizer.eos_ids if tokenizer is not None else ()
        vocabulary = model.config.vocabulary
        self.device = str(model.place.device)
        self.weight_bytes = sum(weight.nbytes for weight in model.weights())
        self.kernels = None if model.place.kernels is None else model.place.kernels.name
        grammars = Grammars(name, tokenizer, vocabulary)
        if chosen.faults:
            faults = Faults(chosen.faults)
            faults.into_engine(wheel, desk)
            faults.into_grammars(grammars)
            tokenizer = None if tokenizer is None else faults.into_tokenizer(tokenizer)
            template = None if template is None else faults.into_template(template)
        prompting = Prompting(name, tokenizer, template, context, system, messages)
        self._intake = Intake(prompting, vocabulary, defaults or {}, ends, grammars)
        self._open_desk: Desk | None = desk
        self._watched: dict[str, Request] = {}

    @classmethod
    def load(
        cls,
        model: str | Path | ModelFiles,
        *,
        device: str = "auto",
        dtype: str = "auto",
        context: int | None = None,
        threads: int | None = None,
        kv_memory: int | None = None,
        kv_dtype: str = "auto",
        budget: MemoryBudget | None = None,
        prefix_cache: Sharing = "radix",
        exact: bool = False,
        quantize: str | None = None,
        draft: str | Path | ModelFiles = "ngram",
        attention_backend: str = "auto",
        faults: Sequence[Fault] = (),
        options: EngineOptions | None = None,
        listener: Listener | None = None,
    ) -> Self:
        """The engine of a model by its name, its folder or its file; a name that is not here is fetched first.

        `options` hold all that may be chosen, in place of the keywords before it and never beside them.
        """
        given = EngineOptions(
            device=device,
            dtype=dtype,
            context=context,
            threads=threads,
            kv_memory=kv_memory,
            kv_dtype=kv_dtype,
            budget=budget,
            prefix_cache=prefix_cache,
            exact=exact,
            quantize=quantize,
            draft=draft,
            attention_backend=attention_backend,
            faults=tuple(faults),
        )
        if options is not None and given != EngineOptions():
            raise InvalidParameter("options", options, "alone: say it in `options` or in keywords, not in both")
        chosen = options or given
        parts = load_parts(model, chosen, listener)
        chosen = replace(chosen, context=chosen.context or parts.context)
        draft_parts = load_draft(parts, chosen, listener)
        return cls(
            parts.model,
            parts.tokenizer,
            parts.template,
            name=parts.name,
            defaults=parts.defaults,
            ends=parts.ends,
            options=chosen,
            draft=None if draft_parts is None else draft_parts.model,
            system=parts.system,
            messages=parts.messages,
            again=[one.again for one in (parts, draft_parts) if one is not None and one.again is not None],
        )

    @classmethod
    def builder(cls) -> EngineBuilder[Self]:
        """The same, a choice a call."""
        return EngineBuilder(lambda model, options, listener: cls.load(model, options=options, listener=listener))

    @property
    def name(self) -> str:
        return self._intake.prompting.name

    @property
    def context(self) -> int:
        """The most tokens of a request, prompt and answer together."""
        return self._intake.context

    @property
    def model(self) -> Model:
        """What computes, for whoever measures it."""
        return self._desk().look(lambda wheel: wheel.runner.model)

    @property
    def vocabulary(self) -> int:
        return self._intake.vocabulary

    @property
    def tokenizer(self) -> Tokenizer | None:
        return self._intake.prompting.tokenizer

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The sampling parameters that the model's own files state."""
        return self._intake.defaults

    @property
    def has_chat_template(self) -> bool:
        prompting = self._intake.prompting
        return prompting.template is not None and prompting.tokenizer is not None

    @property
    def thinks(self) -> bool:
        """Whether its chat template shows that it may think before it speaks."""
        template = self._intake.prompting.template
        return template is not None and template.manner.thinks

    @overload  # to the type system, text is a list of texts too; the first signature is meant for it
    def generate(self, prompts: Prompt, params: Params = None, *, priority: int = ...) -> Completion: ...  # type: ignore[overload-overlap]
    @overload
    def generate(
        self, prompts: Sequence[Prompt], params: Params = None, *, priority: int = ...
    ) -> list[Completion]: ...
    def generate(self, prompts: Prompts, params: Params = None, *, priority: int = 0) -> Completion | list[Completion]:
        """Answer a prompt, or a list of them together; text or token ids. `params` may be a list too, one a prompt.

        Prompts of a higher `priority` go before all others, which give way to them where they must. Of a prompt that
        wants `n` answers the first is returned, the others are its `alternatives`. What can never fit raises before
        anything is computed. A request that fails later has its `error` in its completion, and the others are whole.
        """
        completions = self._answer(self._intake.prompts(prompts), params, priority)
        return completions[0] if is_single(prompts) else completions

    def stream(self, prompt: Prompts, params: Params = None, *, priority: int = 0) -> Stream:
        """The same, as updates while they come: of several at once, told apart by `index` and `choice`."""
        return Stream(self._watch(self._intake.prompts(prompt), params, priority), self)

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        stream: Literal[False] = False,
        priority: int = ...,
        tools: Sequence[Mapping[str, Any]] = ...,
        tool_choice: str = ...,
        parallel_calls: bool = ...,
        **variables: Any,
    ) -> Completion: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        stream: Literal[True],
        priority: int = ...,
        tools: Sequence[Mapping[str, Any]] = ...,
        tool_choice: str = ...,
        parallel_calls: bool = ...,
        **variables: Any,
    ) -> Stream: ...
    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        stream: bool = False,
        priority: int = 0,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str = "auto",
        parallel_calls: bool = True,
        **variables: Any,
    ) -> Completion | Stream:
        """Answer a conversation, written down by the model's own template, which may use `variables`.

        `tools` are those that the model may call, each as OpenAI writes it; `tool_choice` is none, auto, required, or
        the name of the one that must be called; without `parallel_calls` an answer calls at most one. What the model
        thinks before it speaks is not in the answer's text. `NoTools` where the model knows of no tools.
        """
        offered = Tools(tools, tool_choice, parallel_calls)
        ids = self._intake.conversation(messages, offered, variables)
        params, hearing = self._intake.held(ids, params or SamplingParams(), offered)
        if stream:
            return Stream(self._watch([ids], params, priority, hearing), self)
        return self._answer([ids], params, priority, hearing)[0]

    def count(self, messages: Sequence[Message], *, tools: Sequence[Mapping[str, Any]] = (), **variables: Any) -> int:
        """How many tokens a conversation has, written down as for `chat`. `PromptTooLong` beyond the context."""
        return len(self._intake.conversation(messages, Tools(tools), variables))

    def logits(self, token_ids: Sequence[int], *, start: int = 0) -> Tensor:
        """Scores [tokens, vocabulary] fp32 for what follows each token, from `start` on.

        They come through the same steps, chunks and cache as a generation; tokens before `start` may be in the cache.
        """
        scoring = self._intake.scoring(token_ids, start)
        desk = self._desk()
        desk.hand_in([(scoring, None)])
        try:
            desk.drive(lambda: scoring.is_done)
        finally:
            desk.abort([scoring])
        if scoring.error is not None:
            raise scoring.error
        if scoring.reason == "abort":  # nobody but `close` knows of it; what was scored until then is not all
            raise EngineClosed(self.name)
        return torch.cat(scoring.pieces)

    def embed(self, prompts: Sequence[Prompt]) -> list[list[float]]:
        """A vector [hidden] for each prompt; not normalised. `PromptTooLong` where one does not fit the context."""
        each = self._intake.prompts(list(prompts))
        for ids in each:
            if len(ids) > self.context:
                raise PromptTooLong(len(ids), self.context)
        return self._desk().look(lambda wheel: [embed(wheel.runner.model, ids) for ids in each])

    def submit(self, prompt: Prompt, params: SamplingParams | None = None, *, priority: int = 0) -> str:
        """Hand in a request and go on; `follow` reads what comes of it. It runs whenever somebody waits for one."""
        if params is not None and params.n > 1:
            raise InvalidParameter("n", params.n, "1 for what has one id; submit_each gives every answer its own")
        return self.submit_each(prompt, params, priority=priority)[0]

    def submit_each(
        self, prompt: Prompt, params: SamplingParams | None = None, *, priority: int = 0
    ) -> tuple[str, ...]:
        """The same for a prompt that wants `n` answers: an id each."""
        return self._watch(self._intake.prompts([prompt]), params, priority)

    def follow(self, *ids: str) -> Stream:
        """The updates of requests that were submitted."""
        for known in ids:
            self._request(known)
        return Stream(ids, self)

    def prepare(self, params: SamplingParams) -> None:
        """Work out what the answer must look like, so that handing in a request for it costs no time. Raises
        `InvalidParameter` where that cannot be followed.
        """
        if params.form is not None:
            self._intake.grammars.prepare(params.form)

    def prepare_forms(self) -> None:
        """Begin with what every form needs of the model's tokens, and wait for nothing: so the first need not."""
        self._intake.grammars.make_ready()

    def abort(self, id: str, *, wait: bool = True) -> None:  # noqa: A002 - the name that results give it
        """End a request, whatever state it is in; its last update says so. One that has ended stays as it is.

        Without `wait` no lock is taken, so that a signal handler may call it: the next turn finds it aborted.
        """
        request = self._watched.get(id)
        if request is not None:
            self._desk().abort([request], wait=wait)

    def step(self) -> bool:
        """Turn once, which `generate` and streams do by themselves. False when there was nothing to do."""
        return self._desk().step()

    def poll(self) -> list[Update]:
        """What is there of everything that was submitted, nothing turned. What has ended is told once and forgotten."""
        updates: list[Update] = []
        for known, request in list(self._watched.items()):
            updates += request.updates
            request.updates.clear()
            if request.is_done:
                del self._watched[known]
        return updates

    def stats(self) -> Stats:
        """Asleep too, which this does not change."""
        return self._desk().look(lambda wheel: wheel.stats(self.context), wakes=False)

    def sleep(self) -> None:
        """Part with the weights, and with the cache but for a first part of it. What was handed in is answered first,
        and what others hand in meanwhile; what comes next wakes it. `CannotSleep` where it was not loaded from files.
        """
        self._desk().sleep()

    def wake(self) -> None:
        """Have the weights back before somebody asks, if it sleeps. Raises what loading them raises, and sleeps on."""
        self._desk().look(lambda _: None)

    @property
    def is_asleep(self) -> bool:
        return self._desk().is_asleep

    def progress(self) -> Progress:
        """Whether work waits and when the last of it was done. It takes no lock: a turn that hangs does not hold it."""
        return self._desk().progress()

    def check(self) -> None:
        """Raise `AssertionError` unless every page of the cache is accounted for."""
        self._desk().look(lambda wheel: wheel.scheduler.check(), wakes=False)

    def close(self) -> None:
        """Abort what runs, and let the model and the cache go."""
        desk, self._open_desk = self._open_desk, None
        if desk is not None:
            desk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def next_update(self, ids: tuple[str, ...]) -> Update | None:
        """The next update of any of these requests; None when all have ended and nothing is left. For `Stream`."""
        requests = [self._request(known) for known in ids]

        def is_news() -> bool:
            return any(request.updates for request in requests) or all(request.is_done for request in requests)

        if not is_news():
            self._desk().drive(is_news)
        return next((request.updates.popleft() for request in requests if request.updates), None)

    def forget(self, ids: tuple[str, ...], *, wait: bool) -> None:
        """End these requests where they have not ended, and keep nothing of them. For `Stream`."""
        requests = [request for known in ids if (request := self._watched.pop(known, None)) is not None]
        running = [request for request in requests if not request.is_done]
        if running and self._open_desk is not None:
            self._open_desk.abort(running, wait=wait)

    def _answer(
        self, prompts: list[list[int]], params: Params, priority: int, hearing: Hearing | None = None
    ) -> list[Completion]:
        requests = self._intake.requests(prompts, params, watched=False, priority=priority, hearing=hearing)
        desk = self._desk()
        desk.hand_in((request, request.chooser) for request in requests)
        try:
            desk.drive(lambda: all(request.is_done for request in requests))
        finally:
            desk.abort(requests)
        return _gathered(requests, len(prompts))

    def _watch(
        self, prompts: list[list[int]], params: Params, priority: int, hearing: Hearing | None = None
    ) -> tuple[str, ...]:
        requests = self._intake.requests(prompts, params, watched=True, priority=priority, hearing=hearing)
        self._desk().hand_in((request, request.chooser) for request in requests)
        self._watched |= {request.id: request for request in requests}
        return tuple(request.id for request in requests)

    def _desk(self) -> Desk:
        if self._open_desk is None:
            raise EngineClosed(self.name)
        return self._open_desk

    def _request(self, known: str) -> Request:
        if known not in self._watched:
            raise UnknownRequest(known)
        return self._watched[known]


def _gathered(requests: Sequence[Request], prompts: int) -> list[Completion]:
    """The first answer of each prompt, with the others beside it."""
    answers: list[list[Completion]] = [[] for _ in range(prompts)]
    for request in requests:
        if request.completion is not None:
            answers[request.index].append(request.completion)
    return [replace(first, alternatives=tuple(others)) if others else first for first, *others in filter(None, answers)]
