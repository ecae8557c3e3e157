"""An engine of thirty lines, that says what it is told to say.

`python -m unillm.tests.unillm_cli.fakes CHUNK... -- ARGS` runs `unillm ARGS` with it, a chunk every tenth of a second.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING

import pytest

from unillm.runtime.errors import NoChatTemplate
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion, FinishReason, Timings, Update, Usage
from unillm.unillm_cli.client import Opened
from unillm.unillm_cli.session import Session
from unillm.unillm_cli.settings import Settings

if TYPE_CHECKING:
    from unillm.models.contract import Model

TIMINGS = Timings(0.1, 0.6, 2.6, prompt_tokens_per_second=20.0, tokens_per_second=1.0)


class FakeEngine:
    """Says its chunks, whatever it is asked, and remembers what it was asked."""

    vocabulary = 100
    context = 13
    kernels: str | None = "avx512"

    def __init__(
        self,
        *chunks: str,
        template: bool = True,
        finish: FinishReason = "stop",
        error: Exception | None = None,
        pause: float = 0.0,
    ) -> None:
        self._chunks, self._error, self._pause = chunks, error, pause
        self._finish: FinishReason = finish
        self.has_chat_template = template
        self.asked: list[object] = []
        self.params = SamplingParams()
        self.settings: Settings | None = None
        self.defaults: dict[str, float] = {}

    @cached_property
    def model(self) -> "Model":
        from unillm.tests.runtime.fakes import FakeModel  # with torch, which few of these tests need

        return FakeModel()

    def stream(self, prompt: str, params: SamplingParams) -> Iterator[Update]:
        self.asked.append(prompt)
        self.params = params
        for chunk in self._chunks:
            yield Update("1", 0, chunk, (1,))
            time.sleep(self._pause)
        usage = Usage(10, len(self._chunks), 0)
        text = "".join(self._chunks)
        yield Update(
            "1",
            0,
            "",
            (),
            None,
            self._finish,
            Completion("1", text, (1,) * len(self._chunks), self._finish, None, usage, TIMINGS, self._error),
        )

    def chat(self, messages: list[dict[str, str]], params: SamplingParams, *, stream: bool) -> Iterator[Update]:
        if not self.has_chat_template:
            raise NoChatTemplate("fake:1b")
        assert stream
        yield from self.stream("", params)
        self.asked[-1] = messages

    def generate(self, prompts: Sequence[Sequence[int]], params: SamplingParams) -> list[Completion]:
        tokens = params.max_tokens or 0
        return [Completion("1", "", (1,) * tokens, "length", None, Usage(len(p), tokens, 0), TIMINGS) for p in prompts]

    def open(self, _session: Session, settings: Settings) -> AbstractContextManager[Opened]:
        """What stands in for `client.open_engine`."""
        self.settings = settings
        return nullcontext(Opened(self, "fake:1b", 0.5))  # type: ignore[arg-type]

    def install(self, patch: pytest.MonkeyPatch) -> "FakeEngine":
        for module in ("speaking", "commands.bench"):
            patch.setattr(f"unillm.unillm_cli.{module}.open_engine", self.open)
        return self


def main(words: list[str]) -> int:
    from unillm.unillm_cli.app import main as unillm

    end = words.index("--")
    with pytest.MonkeyPatch.context() as patch:
        FakeEngine(*(word.encode().decode("unicode_escape") for word in words[:end]), pause=0.1).install(patch)
        return unillm(words[end + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
