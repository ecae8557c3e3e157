"""Pieces of an answer in Ollama's words: thoughts apart from what is said, counts at the end, errors as a sentence."""

import msgspec
import pytest

from unillm.runtime.hosting.asking import Fault, Piece
from unillm.runtime.results import Timings, TokenLogprob, Usage
from unillm.runtime.server.ollama.results import ChatReply, GenerateReply
from unillm.runtime.server.ollama.wording import BUSY, Lines, Wording, sentence

TIMINGS = Timings(queued=0.25, first_token=0.75, total=2.75, prompt_tokens_per_second=6, tokens_per_second=1)
PIECES = [
    Piece(prompt_tokens=[1, 2, 3], truncated=4, load_seconds=1.5),
    Piece(thought="Hm", token_ids=[4, 5]),
    Piece(thought=".", text="18", token_ids=[6, 7]),
    Piece(text="0", token_ids=[8], finish_reason="stop", usage=Usage(3, 5, 1), timings=TIMINGS),
]


def test_a_whole_answer_has_its_thoughts_apart_and_its_counts() -> None:
    reply = Wording("m", is_chat=True).whole(PIECES)
    assert isinstance(reply, ChatReply)
    assert (reply.message.thinking, reply.message.content) == ("Hm.", "180")
    assert (reply.done, reply.done_reason, reply.truncated) == (True, "stop", 4)
    assert (reply.prompt_eval_count, reply.prompt_eval_cached, reply.eval_count) == (3, 1, 5)
    seconds = (reply.total_duration, reply.load_duration, reply.prompt_eval_duration, reply.eval_duration)
    assert seconds == (4_250_000_000, 1_500_000_000, 500_000_000, 2_000_000_000)


def test_thoughts_that_nobody_wants_are_kept_back() -> None:
    reply = Wording("m", is_chat=True, tells_thoughts=False).whole(PIECES)
    assert isinstance(reply, ChatReply)
    assert (reply.message.thinking, reply.message.content) == (msgspec.UNSET, "180")


def test_a_stream_has_a_line_for_each_piece_and_ends_with_the_tokens_to_go_on_from() -> None:
    scribe = Lines(Wording("m", is_chat=False, keeps=True))
    lines = [msgspec.json.decode(line, type=GenerateReply) for piece in PIECES for line in scribe.write(piece)]
    assert [one.response for one in lines] == ["", "18", "0", ""]
    assert [one.done for one in lines] == [False, False, False, True]
    assert lines[-1].context == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_token_that_is_part_of_a_character_has_its_bytes() -> None:
    half = TokenLogprob(9, "Ã", -0.5, (TokenLogprob(9, "Ã", -0.5, data=b"\xc3"),), data=b"\xc3")
    pieces = [Piece(prompt_tokens=[1]), Piece(token_ids=[9], logprobs=[half]), PIECES[-1]]
    reply = Wording("m", is_chat=False).whole(pieces)
    assert reply.logprobs
    score = reply.logprobs[0]
    assert (score.bytes, score.token, score.logprob) == ([0xC3], "\ufffd", -0.5)
    assert score.top_logprobs
    assert score.top_logprobs[0].bytes == [0xC3]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("busy", "600 requests wait"), BUSY),
        (Fault("too_long", "9 tokens"), "the input length exceeds the context length: 9 tokens"),
        (Fault("internal", "it broke"), "it broke"),
    ],
)
def test_an_error_is_a_sentence_also_in_a_stream(fault: Fault, said: str) -> None:
    assert sentence(fault) == said
    assert list(Lines(Wording("m", is_chat=True)).broke(fault)) == [msgspec.json.encode({"error": said}) + b"\n"]
