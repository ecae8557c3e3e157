"""From what a caller asks to a request: prompts to token ids, parameters over the model's defaults, limits checked.

Whatever can be seen to be impossible is refused here, before anything is computed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeAlias

from . import sequence
from .errors import InvalidParameter, PromptTooLong
from .grammar.calls import prepare
from .grammar.compiler import Grammars
from .params import SamplingParams
from .prompts import Prompt, Prompts, as_list, checked, encode
from .request import Request, Scoring
from .text.answers.hearing import Hearing
from .text.answers.tools import Tools
from .text.prompting import Prompting

Params: TypeAlias = SamplingParams | Sequence[SamplingParams] | None
Message: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Intake:
    """What must be known of a model to take requests for it. `ends` are the tokens that end an answer."""

    prompting: Prompting
    vocabulary: int
    defaults: Mapping[str, Any]
    ends: Collection[int]
    grammars: Grammars
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def context(self) -> int:
        return self.prompting.context

    def prompts(self, prompts: Prompts) -> list[list[int]]:
        """The token ids of each prompt."""
        return [checked(self._ids(prompt), self.vocabulary) for prompt in as_list(prompts)]

    def conversation(self, messages: Sequence[Message], tools: Tools, variables: Mapping[str, Any]) -> list[int]:
        """The token ids of a conversation, as the model's own template writes it down."""
        tools.check()
        return checked(self.prompting.conversation(messages, tools, variables)[0], self.vocabulary)

    def held(self, prompt: list[int], params: SamplingParams, tools: Tools) -> tuple[SamplingParams, Hearing | None]:
        """What answers to a conversation are held to, and how they are read."""
        params = self.prompting.held(prompt, params, tools)
        if tools.must and params.form is not None:
            prepare(self.grammars, params.form, tools)
        return params, self.prompting.hears(prompt, tools)

    def requests(
        self,
        prompts: Sequence[list[int]],
        params: Params,
        *,
        watched: bool,
        priority: int,
        hearing: Hearing | None = None,
    ) -> list[Request]:
        """As many requests for each prompt as it wants answers; `params` are for all, or one for each."""
        if isinstance(priority, bool) or not isinstance(priority, int):
            raise InvalidParameter("priority", priority, "a whole number")
        each = list(params) if isinstance(params, Sequence) else [params] * len(prompts)
        wrong = [one for one in each if not isinstance(one, SamplingParams | None)]
        if wrong:
            raise InvalidParameter("params", wrong[0], "SamplingParams, or a list of them")
        if len(each) != len(prompts):
            raise InvalidParameter("params", f"{len(each)} parameters", f"one, or {len(prompts)}: as many as prompts")
        pairs = [(ids, one or SamplingParams()) for ids, one in zip(prompts, each, strict=True)]
        made = [
            [
                self._request(ids, one, index, choice, watched=watched, priority=priority, hearing=hearing)
                for choice in range(one.n)
            ]
            for index, (ids, one) in enumerate(pairs)
        ]
        for first, *others in made:
            for other in others:
                other.sequence.leader = first.sequence
        return [request for answers in made for request in answers]

    def scoring(self, token_ids: Sequence[int], start: int) -> Scoring:
        """A request for the scores of every token from `start` on."""
        ids = checked(token_ids, self.vocabulary)
        if len(ids) > self.context:
            raise PromptTooLong(len(ids), self.context)
        if not 0 <= start < len(ids):
            raise InvalidParameter("start", start, f"between 0 and {len(ids) - 1}")
        return Scoring(sequence.Sequence(next(self.numbers), ids, len(ids), scored_from=start, chooses=False))

    def _ids(self, prompt: Prompt) -> Sequence[int]:
        return encode(prompt, self.prompting.reader, self.context) if isinstance(prompt, str) else prompt

    def _request(
        self,
        ids: list[int],
        asked: SamplingParams,
        index: int,
        choice: int,
        *,
        watched: bool,
        priority: int,
        hearing: Hearing | None,
    ) -> Request:
        number = next(self.numbers)
        params = asked.over(self.defaults)
        tokenizer = self.prompting.reader if params.stop_strings else self.prompting.tokenizer
        ends = frozenset(params.stop_token_ids) | frozenset(() if params.ignore_eos else self.ends)
        beyond = next((token for token in params.logit_bias or () if token >= self.vocabulary), None)
        if beyond is not None:
            raise InvalidParameter(
                "logit_bias", beyond, f"of token ids below {self.vocabulary}, the model's vocabulary"
            )
        limit = self._limit(len(ids), asked, params)
        scored_from = None if params.prompt_logprobs is None else 0
        chooses = limit > len(ids)
        made = sequence.Sequence(number, list(ids), limit, ends, scored_from, chooses, priority)
        guide = None if params.form is None or not chooses else self.grammars.guide(params.form, ends)
        return Request(
            f"request-{number}",
            made,
            params,
            tokenizer,
            index=index,
            choice=choice,
            watched=watched,
            guide=guide,
            hearing=hearing,
        )

    def _limit(self, prompt: int, asked: SamplingParams, params: SamplingParams) -> int:
        """The most tokens, prompt included. What the caller asked for and cannot have is refused; a default is cut."""
        if prompt >= self.context:
            raise PromptTooLong(prompt, self.context)
        if asked.max_tokens is not None and prompt + asked.max_tokens > self.context:
            raise PromptTooLong(prompt, self.context, asked.max_tokens)
        return self.context if params.max_tokens is None else min(prompt + params.max_tokens, self.context)
