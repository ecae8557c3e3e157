"""TT-11: a prompt that is far too long is refused with the numbers, long before all of it is cut into tokens."""

import random
import time

import pytest

from unillm.runtime.engine import Engine
from unillm.runtime.errors import PromptTooLong
from unillm.runtime.options import EngineOptions
from unillm.runtime.prompts import LONG, USUAL, within
from unillm.runtime.text.template import ChatTemplate
from unillm.tests.runtime.engines import engine_over, greedy
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel
from unillm.tests.support.hangs import HANGS

MEGABYTES = 4_000_000
PIECES = {
    "one letter": "a",
    "spaces": " ",
    "emoji": "😀",
    "names": "</s>",
    "half characters": "\ud800",
    "random bytes": bytes(random.Random(1).randrange(256) for _ in range(10_000)).decode("latin-1"),
}


def repeated(piece: str) -> str:
    return piece * (MEGABYTES // len(piece.encode("utf-8", "surrogatepass")))


@pytest.mark.parametrize("piece", PIECES.values(), ids=PIECES.keys())
def test_four_megabytes_are_refused_in_no_time(piece: str) -> None:
    with engine_over(FakeModel(vocabulary=258), tokenizer=ByteTokenizer()) as engine:
        started = time.process_time()
        with pytest.raises(PromptTooLong, match="more than 512 tokens; the context holds 512"):
            engine.generate(repeated(piece), greedy(1))
        assert time.process_time() - started < HANGS


def test_a_conversation_of_four_megabytes_is_refused_in_no_time() -> None:
    template = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", "m")
    options = EngineOptions(kv_memory=1 << 16, page_size=4)
    with Engine(FakeModel(vocabulary=258), ByteTokenizer(), template, options=options) as engine:
        started = time.process_time()
        with pytest.raises(PromptTooLong, match="more than 512 tokens"):
            engine.chat([{"role": "user", "content": repeated("a")}], greedy(1))
        assert time.process_time() - started < HANGS


def test_only_as_much_is_cut_as_shows_that_it_is_too_much() -> None:
    cut: list[int] = []

    def by_letters(text: str) -> list[int]:
        cut.append(len(text))
        return [0] * len(text)

    with pytest.raises(PromptTooLong):
        within("a" * MEGABYTES, by_letters, 100_000)
    assert cut == [100_000 * USUAL]


def test_what_becomes_few_tokens_is_not_refused_for_its_length() -> None:
    cut: list[int] = []

    def by_hundreds(text: str) -> list[int]:
        cut.append(len(text))
        return [0] * (len(text) // 100)

    assert len(within("a" * MEGABYTES, by_hundreds, 50_000)) == 40_000
    assert sum(cut) < 3 * MEGABYTES


def test_a_prompt_of_usual_length_is_cut_once() -> None:
    cut: list[str] = []
    text = "a" * LONG
    assert within(text, lambda part: cut.append(part) or [1], 10) == [1]  # type: ignore[func-returns-value]
    assert cut == [text]
