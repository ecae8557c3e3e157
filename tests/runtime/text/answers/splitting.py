"""Reading one answer again and again, cut into pieces in every way that matters."""

from collections.abc import Callable, Iterator

from unillm.runtime.results import ToolCall
from unillm.runtime.text.answers.said import AnswerReader, Said, whole

Heard = list[tuple[str, str]]  # kind and text, in order; neighbours of a kind as one


def read(reader: AnswerReader, pieces: list[str]) -> list[Said]:
    return [run for piece in pieces for run in reader.push(piece)] + reader.finish()


def heard(runs: list[Said]) -> Heard:
    """What came, in order, however it was cut."""
    told: Heard = []
    begun: list[ToolCall] = []  # parts of a call that is not whole yet
    for run in runs:
        assert not begun or not (run.text or run.thought)
        for kind, text in (("thought", run.thought), ("text", run.text)):
            if text and told and told[-1][0] == kind:
                told[-1] = kind, told[-1][1] + text
            elif text:
                told.append((kind, text))
        begun += [] if run.part is None else [run.part]
        if begun and run.calls:
            assert {(part.id, part.name) for part in begun} == {(run.calls[0].id, run.calls[0].name)}
            assert "".join(part.arguments for part in begun) == run.calls[0].arguments
            begun = []
        told += [("call", f"{call.name} {call.arguments}") for call in run.calls]
    assert not begun
    return told


def in_every_way(new: Callable[[], AnswerReader], text: str) -> Said:
    """What comes of `text`, which must be the same wherever it is cut in two, and letter by letter."""
    expected = read(new(), [text])
    for pieces in cuts(text):
        assert heard(read(new(), pieces)) == heard(expected), pieces
    return whole(expected)


def in_parts_in_every_way(new: Callable[[bool], AnswerReader], text: str) -> Said:
    """The same of a reader that tells calls as they are written, by whose side the other gives the same answer."""
    plain, parts = in_every_way(lambda: new(False), text), in_every_way(lambda: new(True), text)
    assert wants(parts.calls) == wants(plain.calls)
    assert (parts.text, parts.thought) == (plain.text, plain.thought)
    return parts


def cuts(text: str) -> Iterator[list[str]]:
    yield list(text)
    yield from ([text[start : start + size] for start in range(0, len(text), size)] for size in (2, 3, 7))
    yield from ([text[:place], text[place:]] for place in range(1, len(text)))


def wants(calls: tuple[ToolCall, ...]) -> list[tuple[str, dict[str, object]]]:
    return [(call.name, call.values) for call in calls]
