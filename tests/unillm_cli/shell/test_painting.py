"""What stands on a screen after any number of changes is what was asked for, whatever stood there before."""

import pyte
from hypothesis import given
from hypothesis import strategies as st

from unillm.unillm_cli.shell.painting import Region

LINES = st.lists(st.text("ab c", max_size=8), min_size=1, max_size=6)


def screen() -> tuple[pyte.Screen, Region]:
    shown = pyte.Screen(20, 40)
    stream = pyte.Stream(shown)
    return shown, Region(lambda text: stream.feed(text.replace("\n", "\r\n")))  # as a terminal driver does


def visible(shown: pyte.Screen) -> list[str]:
    return [line.rstrip() for line in shown.display]


@given(st.lists(LINES, min_size=1, max_size=5))
def test_the_last_lines_shown_are_those_on_the_screen(frames: list[list[str]]) -> None:
    shown, region = screen()
    for frame in frames:
        region.show(frame, 40)
    wanted = [line.rstrip() for line in frames[-1]]
    assert visible(shown)[: len(wanted)] == wanted
    assert not any(visible(shown)[len(wanted) :])
    assert shown.cursor.y == len(wanted) - 1


@given(LINES, LINES, LINES)
def test_lines_that_were_released_stay(first: list[str], more: list[str], last: list[str]) -> None:
    shown, region = screen()
    region.show([*first, *more], 40)
    region.release(len(first))
    region.show(last, 40)
    region.settle()
    wanted = [line.rstrip() for line in [*first, *last]]
    assert visible(shown)[: len(wanted)] == wanted
    assert (shown.cursor.x, shown.cursor.y) == (0, len(wanted))


def test_what_only_grows_is_not_written_again() -> None:
    written: list[str] = []
    region = Region(written.append)
    for frame in (["one"], ["one two"], ["one two", "three"], ["one two", "three!"], ["one two", "three!"]):
        region.show(frame, 24)
    assert written == ["one", " two", "\nthree", "!"]


def test_lines_that_have_left_the_screen_are_left_alone() -> None:
    written: list[str] = []
    region = Region(written.append)
    region.show([str(number) for number in range(10)], 4)
    region.show(["changed", *map(str, range(1, 9)), "nine"], 4)
    assert written[1] == "\rnine\x1b[K" or written[1].endswith("nine\x1b[K")
    assert "changed" not in written[1]
    assert "\x1b[4A" not in written[1]
