"""Stop strings cut exactly, however the text was cut before."""

from hypothesis import given
from hypothesis import strategies as st

from unillm.runtime.text.stops import StopStrings

LETTERS = st.text("ab\n", max_size=30)


def cut(text: str, stops: list[str]) -> tuple[str, bool]:
    """The plain reference: all of the text at once."""
    places = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)


def run(pieces: list[str], stops: list[str]) -> tuple[str, bool]:
    watch, out = StopStrings(stops), ""
    for piece in pieces:
        safe, stopped = watch.push(piece)
        out += safe
        if stopped:
            return out, True
    return out + watch.finish(), watch.stopped


@given(st.lists(LETTERS, max_size=8), st.lists(st.text("ab\n", min_size=1, max_size=4), min_size=1, max_size=3))
def test_pieces_are_cut_as_the_whole_is(pieces: list[str], stops: list[str]) -> None:
    assert run(pieces, stops) == cut("".join(pieces), stops)


def test_only_what_may_become_a_stop_is_held_back() -> None:
    watch = StopStrings(["END"])
    assert watch.push("the E") == ("the ", False)
    assert watch.push("N") == ("", False)
    assert watch.push("E") == ("EN", False)
    assert watch.finish() == "E"


def test_the_stop_that_begins_first_wins() -> None:
    assert run(["xabcab", "d"], ["ab", "abcabd"]) == ("x", True)
    assert run(["a stop at the very start"], ["a stop"]) == ("", True)
    assert run(["aba", "b"], ["abab", "ba"]) == ("", True)
    assert run(["aba", "c"], ["abab", "ba"]) == ("a", True)
    assert run(["aba"], ["abab", "ba"]) == ("a", True)
