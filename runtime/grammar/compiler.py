"""From what answers must look like to guides: compiled beside whoever computes, and kept while it is asked for.

The grammar library is imported with the first form: most processes never need it, and it takes its time.
"""

from collections import OrderedDict
from collections.abc import Collection
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from dataclasses import dataclass, field
from functools import cached_property
from threading import BoundedSemaphore, Event, Lock, Thread, stack_size
from time import monotonic
from typing import TYPE_CHECKING, Final, TypeAlias

from ..errors import InvalidParameter, NoTokenBytes, NoTokenizer, TooManyForms
from ..text.tokenizer import Tokenizer
from .forms import Form
from .guide import Guide

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher, LLTokenizer

MOST_KEPT: Final = 256
MOST_CHARACTERS: Final = 1 << 21  # of the forms whose grammars are kept
PATIENCE: Final = 1.5  # seconds for one form, from when it is begun; nobody's needs a tenth of it
COMPILERS: Final = 2  # forms at once
LONGEST_WAIT: Final = 30.0  # seconds until one of them has time for a form
STACKS: Final = Lock()  # how large the next thread's stack is, is one number for the whole process
STACK: Final = 256 << 20  # bytes, of which only those are taken that are used: forms lead deep, and it recurses


Outcome: TypeAlias = "LLMatcher | InvalidParameter"


@dataclass(slots=True, eq=False)
class _Work:
    """A form that is being compiled, or waits for that."""

    done: "Future[Outcome]" = field(default_factory=Future)
    begun: Event = field(default_factory=Event)
    since: float = 0.0

    def begin(self) -> None:
        self.since = monotonic()
        self.begun.set()

    def outcome(self, form: Form) -> Outcome:
        if not self.begun.wait(LONGEST_WAIT):
            raise TooManyForms(LONGEST_WAIT)
        try:
            return self.done.result(max(self.since + PATIENCE - monotonic(), 0.0))
        except NotDone:
            raise form.refused(f"it takes more than {PATIENCE} seconds to understand") from None


class Grammars:
    """What the model called `name`, with a vocabulary of `size` tokens, can be held to. Safe in several threads."""

    def __init__(self, name: str, tokenizer: Tokenizer | None, size: int) -> None:
        self._name, self._tokenizer, self._size = name, tokenizer, size
        self._tokens: LLTokenizer | None = None
        self._kept: OrderedDict[Form, Outcome] = OrderedDict()
        self._pending: dict[Form, _Work] = {}
        self._gate, self._making = Lock(), Lock()
        self._places = BoundedSemaphore(COMPILERS)

    def guide(self, form: Form, ends: Collection[int]) -> Guide:
        """A guide at the start of an answer. Raises `InvalidParameter` where `form` says nothing that can be followed,
        or not in time.
        """
        return Guide(self._compiled(form).deep_copy(), self._size, ends, self._crew)

    def prepare(self, form: Form) -> None:
        """Have `form` ready. Raises what `guide` would."""
        self._compiled(form)

    def make_ready(self) -> None:
        """Begin with what every form needs, in a thread that nobody waits for, so that the first form need not."""
        if self._tokenizer is not None and self._tokenizer.pieces is not None:
            Thread(target=self._library, daemon=True, name="readies grammars").start()

    def _compiled(self, form: Form) -> "LLMatcher":
        outcome = self._outcome(form)
        if isinstance(outcome, InvalidParameter):
            raise InvalidParameter(outcome.field, outcome.value, outcome.allowed)
        return outcome

    def _outcome(self, form: Form) -> Outcome:
        tokens = self._library()
        with self._gate:
            if form in self._kept:
                self._kept.move_to_end(form)
                return self._kept[form]
            work = self._pending.get(form)
            if work is None:
                work = _Work()
                self._start(form, tokens, work)
                self._pending[form] = work
        return work.outcome(form)

    def _start(self, form: Form, tokens: "LLTokenizer", work: _Work) -> None:
        """Compile in a thread of its own, which nobody waits for at the end."""
        with STACKS:
            usual = stack_size(STACK)
            try:
                Thread(target=self._run, args=(form, tokens, work), daemon=True, name="compiles").start()
            finally:
                stack_size(usual)

    def _run(self, form: Form, tokens: "LLTokenizer", work: _Work) -> None:
        with self._places:
            work.begin()
            try:
                outcome = _compile(form, tokens)
            except Exception as error:  # a door: whoever waits for it is told
                self._settle(form)
                work.done.set_exception(error)
            else:
                self._settle(form, outcome)
                work.done.set_result(outcome)

    def _settle(self, form: Form, outcome: "Outcome | None" = None) -> None:
        """Nobody waits for `form` any more; what came of it is kept, and of others the longest unused go."""
        with self._gate:
            del self._pending[form]
            if outcome is None:
                return
            self._kept[form] = outcome
            size = sum(len(kept.text) for kept in self._kept)
            while len(self._kept) > MOST_KEPT or (size > MOST_CHARACTERS and len(self._kept) > 1):
                size -= len(self._kept.popitem(last=False)[0].text)

    @cached_property
    def _crew(self) -> "LLExecutor":
        from llguidance import LLExecutor

        return LLExecutor()

    def _library(self) -> "LLTokenizer":
        if self._tokenizer is None:
            raise NoTokenizer(self._name)
        if self._tokenizer.pieces is None:
            raise NoTokenBytes(self._name)
        from .vocabulary import library_tokens

        with self._making:
            if self._tokens is None:
                self._tokens = library_tokens(self._tokenizer, self._size)
            return self._tokens


def _compile(form: Form, tokens: "LLTokenizer") -> Outcome:
    """A refusal comes as a value: it is kept as well."""
    from .language import compiled

    try:
        return compiled(form, tokens)
    except InvalidParameter as refusal:
        return refusal.with_traceback(None)
