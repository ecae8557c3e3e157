"""Who speaks: a server's answer may be left while it is waited for, and between two pieces."""

from collections.abc import Generator

from unillm.runtime.results import Update
from unillm.unillm_cli.speaking import Interruptible

PIECE = Update("1", 0, "x", (1,))


def test_an_answer_that_is_waited_for_ends_where_a_signal_says_so() -> None:
    closed: list[bool] = []

    def pieces() -> Generator[Update, None, None]:
        try:
            yield PIECE
            reading.stop()  # as a signal handler does, in the midst of waiting
            yield PIECE
        finally:
            closed.append(True)

    reading = Interruptible(pieces())
    assert list(reading) == [PIECE]
    assert closed == [True]


def test_between_two_pieces_it_ends_before_the_next() -> None:
    reading = Interruptible(piece for piece in [PIECE, PIECE])
    assert next(reading) == PIECE
    reading.stop()
    assert list(reading) == []
    reading.close()
