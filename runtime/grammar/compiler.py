"""From what answers must look like to guides: compiled beside whoever computes, and kept while it is asked for."""

from collections import OrderedDict
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from threading import Lock
from typing import Final

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from ..errors import NoTokenBytes, NoTokenizer
from ..text.tokenizer import Tokenizer
from .forms import Form
from .guide import Guide
from .language import in_lark
from .vocabulary import library_tokens

MOST_KEPT: Final = 256
MOST_CHARACTERS: Final = 1 << 21  # of the forms whose grammars are kept
PATIENCE: Final = 1.5  # seconds for one form; nobody's needs a tenth of it
COMPILERS: Final = 2

LIMITS: Final = LLParserLimits(verbose_errors=False)


class Grammars:
    """What the model called `name`, with a vocabulary of `size` tokens, can be held to. Safe in several threads."""

    def __init__(self, name: str, tokenizer: Tokenizer | None, size: int) -> None:
        self._name, self._tokenizer, self._size = name, tokenizer, size
        self._tokens: LLTokenizer | None = None
        self._kept: OrderedDict[Form, LLMatcher] = OrderedDict()
        self._pending: dict[Form, Future[LLMatcher]] = {}
        self._gate = Lock()
        self._pool = ThreadPoolExecutor(COMPILERS, "compiles")

    def guide(self, form: Form, ends: Collection[int]) -> Guide:
        """A guide at the start of an answer. Raises `InvalidParameter` where `form` says nothing that can be followed,
        or not in time.
        """
        return Guide(self._compiled(form).deep_copy(), self._size, ends)

    def prepare(self, form: Form) -> None:
        """Have `form` ready. Raises what `guide` would."""
        self._compiled(form)

    def close(self) -> None:
        self._pool.shutdown(wait=False)

    def _compiled(self, form: Form) -> LLMatcher:
        with self._gate:
            if form in self._kept:
                self._kept.move_to_end(form)
                return self._kept[form]
            future = self._pending.get(form)
            if future is None:
                future = self._pending[form] = self._pool.submit(self._compile, form)
                future.add_done_callback(lambda _: self._pending.pop(form, None))
        try:
            matcher = future.result(PATIENCE)
        except NotDone:
            raise form.refused(f"it takes more than {PATIENCE} seconds to understand") from None
        self._keep(form, matcher)
        return matcher

    def _keep(self, form: Form, matcher: LLMatcher) -> None:
        with self._gate:
            self._kept[form] = matcher
            size = sum(len(kept.text) for kept in self._kept)
            while len(self._kept) > MOST_KEPT or (size > MOST_CHARACTERS and len(self._kept) > 1):
                size -= len(self._kept.popitem(last=False)[0].text)

    def _compile(self, form: Form) -> LLMatcher:
        matcher = LLMatcher(self._library(), in_lark(form), log_level=0, limits=LIMITS)
        if not matcher.is_error():
            matcher.compute_bitmask()  # what the first step needs is worked out here, once for all
        if matcher.is_error():
            raise form.refused(matcher.get_error())
        return matcher

    def _library(self) -> LLTokenizer:
        if self._tokenizer is None:
            raise NoTokenizer(self._name)
        if self._tokenizer.pieces is None:
            raise NoTokenBytes(self._name)
        if self._tokens is None:
            self._tokens = library_tokens(self._tokenizer, self._size)
        return self._tokens
