"""How a conversation is made to fit: nothing goes while there is room, then the oldest turns, never the question."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from unillm.runtime.client.wire import Think
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.unillm_cli.shell.conversation import Conversation
from unillm.unillm_cli.shell.room import is_nearly_full, make_room, meter_text
from unillm.unillm_cli.speaking import Answer, Message, Said


class Counting:
    """A speaker that counts a token a letter, and none beyond its context."""

    name, load_seconds, converses, thinks = "counting", 0.0, True, False

    def __init__(self, context: int) -> None:
        self.context = context

    def answer(self, said: Said, params: SamplingParams, *, raw: bool = False, think: Think | None = None) -> Answer:
        raise AssertionError("nobody asks")

    def check(self, params: SamplingParams) -> None:
        raise AssertionError("nobody asks")

    def count(self, said: Sequence[Message]) -> int | None:
        count = sum(len(one["content"]) for one in said)
        return count if count <= self.context else None

    def why_cut(self, completion: Completion) -> str:
        raise AssertionError("nothing is cut")


def conversation(turns: int, size: int) -> Conversation:
    made = Conversation("m", system="s" * 10)
    for _ in range(turns):
        made.ask("q" * size)
        made.answer("a" * size)
    made.ask("q" * size)
    return made


def test_while_there_is_room_nothing_goes() -> None:
    short = conversation(3, 10)
    assert make_room(short, Counting(1000), None) == 0
    assert len(short.read) == 8


def test_the_oldest_turns_go_whole_and_the_system_message_stays() -> None:
    long = conversation(9, 10)
    assert make_room(long, Counting(160), None) == 8
    assert long.read[0]["role"] == "system"
    assert long.read[1]["role"] == "user"
    assert len(long.messages) == 19
    assert make_room(long, Counting(160), None) == 0


@given(st.integers(0, 12), st.integers(1, 30), st.integers(20, 400), st.none() | st.integers(1, 50))
def test_the_question_stays_and_what_is_left_fits_if_anything_does(
    turns: int, size: int, context: int, wanted: int | None
) -> None:
    made = conversation(turns, size)
    make_room(made, Counting(context), wanted)
    assert made.read[-1] == made.messages[-1]
    count = Counting(context).count(made.read)
    alone = 10 + size + (wanted or context // 8) <= context
    assert not alone or (count is not None and count + (wanted or context // 8) <= context)


def test_the_meter_is_words() -> None:
    assert meter_text(312, 2048) == "312 of 2,048 tokens (15 %)"
    assert [is_nearly_full(used, 100) for used in (79, 80)] == [False, True]
