"""An engine of thirty lines, that says what it is told to say.

`python -m unillm.tests.unillm_cli.fakes CHUNK... -- ARGS` runs `unillm ARGS` with it, a chunk every tenth of a second.
A model that is named by its path takes FAKE_LOADING seconds to load.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING

import pytest

from unillm.runtime.errors import InvalidParameter, NoChatTemplate
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion, FinishReason, Timings, Update, Usage
from unillm.unillm_cli.client import Opened
from unillm.unillm_cli.session import Session
from unillm.unillm_cli.settings import Settings

if TYPE_CHECKING:
    from unillm.models.contract import Model

TIMINGS = Timings(0.1, 0.6, 2.6, prompt_tokens_per_second=20.0, tokens_per_second=1.0)


class FakeStream(Iterator[Update]):
    """As the engine's: it has an id, and may be left."""

    id = "1"

    def __init__(self, updates: Iterator[Update]) -> None:
        self._updates = updates

    def __next__(self) -> Update:
        return next(self._updates)

    def close(self) -> None:
        self._updates = iter(())


class FakeEngine:
    """Says its chunks, whatever it is asked, and remembers what it was asked."""

    vocabulary = 100
    tokenizer = None
    kernels: str | None = "avx512"

    def __init__(
        self,
        *chunks: str,
        template: bool = True,
        finish: FinishReason = "stop",
        error: Exception | None = None,
        pause: float = 0.0,
        context: int = 13,
        thoughts: Sequence[str] = (),
    ) -> None:
        self._chunks, self._error, self._pause = chunks, error, pause
        self._finish: FinishReason = finish
        self.has_chat_template, self.thinks, self._thoughts = template, bool(thoughts), thoughts
        self.told: list[Mapping[str, object]] = []
        self.prepared: list[SamplingParams] = []
        self.context = context
        self.asked: list[object] = []
        self.params = SamplingParams()
        self.settings: Settings | None = None
        self.left = False
        self.defaults: dict[str, float] = {}

    @cached_property
    def model(self) -> "Model":
        from unillm.tests.runtime.fakes import FakeModel  # with torch, which few of these tests need

        return FakeModel()

    def stream(self, prompt: str, params: SamplingParams) -> "FakeStream":
        self.asked.append(prompt)
        self.params, self.left = params, False
        return FakeStream(self._updates())

    def chat(
        self, messages: list[dict[str, str]], params: SamplingParams, *, stream: bool, **variables: object
    ) -> "FakeStream":
        if not self.has_chat_template:
            raise NoChatTemplate("fake:1b")
        assert stream
        self.told.append(variables)
        made = self.stream("", params)
        self.asked[-1] = list(messages)
        return made

    def prepare(self, params: SamplingParams) -> None:
        """As an engine does: what no answer can follow is refused."""
        if params.schema and "bad" in str(params.schema):
            raise InvalidParameter("schema", params.schema, "a JSON schema: it is bad")
        self.prepared.append(params)

    def abort(self, id: str, *, wait: bool) -> None:  # noqa: A002 (as the engine's)
        assert (id, wait) == ("1", False)
        self.left = True

    def count(self, messages: Sequence[Mapping[str, str]]) -> int:
        """A token a word."""
        return sum(len(one["content"].split()) for one in messages)

    def _updates(self) -> Iterator[Update]:
        said: list[str] = []
        for thought in self._thoughts:
            yield Update("1", 0, "", (1,), thought=thought)
        for chunk in self._chunks:
            said.append(chunk)
            yield Update("1", 0, chunk, (1,))
            time.sleep(self._pause)
            if self.left:
                break
        finish: FinishReason = "abort" if self.left else self._finish
        usage, text = Usage(10, len(said), 0), "".join(said)
        thought = "".join(self._thoughts)
        whole = Completion("1", text, (1,) * len(said), finish, None, usage, TIMINGS, self._error, thought=thought)
        yield Update("1", 0, "", (), None, finish, whole)

    def generate(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[Completion]:
        tokens = params.max_tokens or 0
        return [Completion("1", "", (1,) * tokens, "length", None, Usage(len(p), tokens, 0), TIMINGS) for p in prompts]

    def open(self, session: Session, settings: Settings) -> AbstractContextManager[Opened]:
        """What stands in for `client.open_engine`."""
        self.settings = settings
        if settings.model and settings.model.startswith("/"):
            session.output.note("it is being loaded")
            time.sleep(float(os.environ.get("FAKE_LOADING", "0")))
        return nullcontext(Opened(self, "fake:1b", 0.5))  # type: ignore[arg-type]

    def install(self, patch: pytest.MonkeyPatch) -> "FakeEngine":
        for module in ("speaking", "commands.bench"):
            patch.setattr(f"unillm.unillm_cli.{module}.open_engine", self.open)
        return self


def main(words: list[str]) -> int:
    from unillm.unillm_cli.__main__ import main as unillm

    end = words.index("--")
    with pytest.MonkeyPatch.context() as patch:
        chunks = (word.encode().decode("unicode_escape") for word in words[:end])
        FakeEngine(*chunks, pause=0.1, context=1000).install(patch)
        sys.argv[1:] = words[end + 1 :]
        return unillm()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
