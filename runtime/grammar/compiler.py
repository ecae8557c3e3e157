"""From what answers must look like to guides: compiled beside whoever computes, and kept while it is asked for.

The grammar library is imported with the first form: most processes never need it, and it takes its time.
"""

from collections import OrderedDict
from collections.abc import Collection
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from functools import cached_property
from threading import BoundedSemaphore, Lock, Thread, stack_size
from typing import TYPE_CHECKING, Final

from ..errors import NoTokenBytes, NoTokenizer
from ..text.tokenizer import Tokenizer
from .forms import Form
from .guide import Guide

if TYPE_CHECKING:
    from llguidance import LLExecutor, LLMatcher, LLTokenizer

MOST_KEPT: Final = 256
MOST_CHARACTERS: Final = 1 << 21  # of the forms whose grammars are kept
PATIENCE: Final = 1.5  # seconds for one form; nobody's needs a tenth of it
COMPILERS: Final = 2  # forms at once
STACKS: Final = Lock()  # how large the next thread's stack is, is one number for the whole process
STACK: Final = 256 << 20  # bytes, of which only those are taken that are used: forms lead deep, and it recurses


class Grammars:
    """What the model called `name`, with a vocabulary of `size` tokens, can be held to. Safe in several threads."""

    def __init__(self, name: str, tokenizer: Tokenizer | None, size: int) -> None:
        self._name, self._tokenizer, self._size = name, tokenizer, size
        self._tokens: LLTokenizer | None = None
        self._kept: OrderedDict[Form, LLMatcher] = OrderedDict()
        self._pending: dict[Form, Future[LLMatcher]] = {}
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

    def _compiled(self, form: Form) -> "LLMatcher":
        tokens = self._library()
        with self._gate:
            if form in self._kept:
                self._kept.move_to_end(form)
                return self._kept[form]
            future = self._pending.get(form)
            if future is None:
                future = Future()
                self._start(form, tokens, future)
                self._pending[form] = future
        try:
            return future.result(PATIENCE)
        except NotDone:
            raise form.refused(f"it takes more than {PATIENCE} seconds to understand") from None

    def _start(self, form: Form, tokens: "LLTokenizer", future: "Future[LLMatcher]") -> None:
        """Compile in a thread of its own, which nobody waits for at the end."""
        with STACKS:
            usual = stack_size(STACK)
            try:
                Thread(target=self._run, args=(form, tokens, future), daemon=True, name="compiles").start()
            finally:
                stack_size(usual)

    def _run(self, form: Form, tokens: "LLTokenizer", future: "Future[LLMatcher]") -> None:
        with self._places:
            try:
                matcher = _compile(form, tokens)
            except Exception as error:  # a door: whoever waits for it is told
                self._settle(form)
                future.set_exception(error)
            else:
                self._settle(form, matcher)
                future.set_result(matcher)

    def _settle(self, form: Form, matcher: "LLMatcher | None" = None) -> None:
        """Nobody waits for `form` any more; what came of it is kept, and of others the longest unused go."""
        with self._gate:
            del self._pending[form]
            if matcher is None:
                return
            self._kept[form] = matcher
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


def _compile(form: Form, tokens: "LLTokenizer") -> "LLMatcher":
    from .language import compiled

    return compiled(form, tokens)
