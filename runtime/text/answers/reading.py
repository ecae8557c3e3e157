"""Answers with marks in them: around thoughts, and where calls begin and end.

Nothing is handed out that could still become a part of a mark, nor, unless it is told in parts, of a call that is not
whole. Blanks between what is thought, said and called are nobody's words; those within what is said stay. What is no
call after all is told as text.
"""

from dataclasses import dataclass, field
from typing import Final

from ...results import ToolCall
from ..marks import Marks
from .calls import CallStyle, Malformed, Schemas
from .cut import cut_calls
from .parts import CallParts
from .said import Runs, Said
from .thoughts import ThoughtMarks

MOST_TRIES: Final = 64  # ends of a call that may stand inside one of its texts
LONGEST_HEAD: Final = 256  # characters, blanks included, in which a call without a mark must be seen to be one


@dataclass(slots=True, eq=False)
class MarkedReader:
    """`style` None: calls are not looked for. `inside` is how the thought ends that the prompt has begun, if any.

    `one_call`: the answer is over with its first. `must`: it has to be calls, so what was cut is a part of one.
    `in_parts`: calls whose arguments are JSON behind a name are told as they are written.
    """

    thoughts: ThoughtMarks
    style: CallStyle | None = None
    tools: Schemas = field(default_factory=dict)
    inside: str | None = None
    one_call: bool = False
    must: bool = False
    in_parts: bool = False
    over: bool = field(default=False, init=False)
    _held: str = field(default="", init=False)
    _runs: Runs = field(default_factory=Runs, init=False)
    _ends: str | None = field(init=False)  # in a thought: how it ends
    _quiet: bool = field(default=True, init=False)  # nothing was said since the beginning, a thought or a call
    _follows: bool = field(default=False, init=False)  # a thought or a call came before
    _spoke: bool = field(default=False, init=False)
    _blanks: str | None = field(default=None, init=False)  # in a call: what stood before it
    _opening: str = field(default="", init=False)
    _from: int = field(default=0, init=False)  # in a call: where its end is looked for
    _tries: int = field(default=0, init=False)
    _parts: CallParts | None = field(default=None, init=False)  # in a call: what was told of it
    _openings: Marks = field(init=False)
    _closings: Marks = field(init=False)

    def __post_init__(self) -> None:
        self._ends = self.inside
        openings = () if self.style is None else self.style.openings
        closing = None if self.style is None else self.style.closing
        self._openings = Marks((*openings, *self.thoughts.frame))
        self._closings = Marks(openings if closing is None else (closing,))

    def push(self, text: str) -> list[Said]:
        self._held += text
        self._read_on()
        return self._runs.taken()

    def finish(self, *, cut: bool = False) -> list[Said]:
        while self._blanks is not None and not self.over:
            if not (cut and self._cut()):
                self._close(len(self._held), len(self._held), at_end=True)
                self._read_on()
        held, self._held = "" if self.over or (cut and self.must and self._ends is None) else self._held, ""
        if self._ends is not None:
            self._runs.think(held.rstrip())
        elif held.strip() or not (self._quiet and self._follows):
            self._runs.say(held)
        return self._runs.taken()

    def _read_on(self) -> None:
        while not self.over and self._step():
            pass

    def _step(self) -> bool:
        """Read on; False when more text must come first."""
        if self._ends is not None:
            return self._think(self._ends)
        if self._blanks is not None:
            return self._call()
        if self._quiet:
            return self._begin()
        return self._say()

    def _think(self, ends: str) -> bool:
        thought, mark, rest = self._held.partition(ends)
        if self._quiet:
            thought = thought.lstrip()
            self._quiet = not thought
        if mark:
            self._runs.think(thought.rstrip())
            self._held, self._ends, self._quiet, self._follows = rest, None, True, True
            return True
        told = thought[: len(thought) - Marks((ends,)).hopeful(thought)].rstrip()
        self._runs.think(told)
        self._held = thought[len(told) :]
        return False

    def _begin(self) -> bool:
        """What comes first: a thought, a call, or words."""
        lead = self._held.lstrip()
        pair = self.thoughts.begun(lead)
        if pair is not None:
            self._held, self._ends = lead.removeprefix(pair[0]), pair[1]
            return True
        if not lead or self.thoughts.may_begin(lead):
            return False
        if self.style is not None and not self._spoke:
            begins = _begins(lead, self.style.heads)
            if begins is None:
                return False
            if begins:
                return self._open(len(self._held) - len(lead), "")
        found = self._openings.find(lead)
        if found is not None and found.start() == 0:
            return self._say()
        if found is None and self._openings.hopeful(lead) == len(lead):
            return False
        if self._follows and not self._spoke:
            self._held = lead
        self._quiet = False
        return True

    def _say(self) -> bool:
        found = self._openings.find(self._held)
        if found is not None:
            self._tell(self._held[: found.start()].rstrip())
            if found[0] in self.thoughts.frame:
                self._held, self._quiet, self._follows = self._held[found.end() :], True, True
                return True
            return self._open(len(self._held[: found.start()].rstrip()), found[0])
        told = self._held[: len(self._held) - self._openings.hopeful(self._held)]
        if self._openings.longest:
            told = told.rstrip()
        self._tell(told)
        self._held = self._held[len(told) :]
        return False

    def _tell(self, text: str) -> None:
        self._runs.say(text)
        self._spoke = self._spoke or bool(text)

    def _open(self, start: int, opening: str) -> bool:
        """A call begins behind the blanks at `start`."""
        rest = self._held[start:]
        self._held = rest.lstrip()
        self._blanks = rest[: len(rest) - len(self._held)]
        self._opening, self._from, self._tries = opening, len(opening), 0
        if self.in_parts and self.style is not None and self.style.writes_json:
            self._parts = CallParts(self.style, self.tools, self._runs, self.one_call)
        return True

    def _call(self) -> bool:
        if self._parts is not None:
            self._parts.read(self._held, self._closings, len(self._opening))
        found = self._closings.find(self._held, self._from)
        if found is None:
            self._from = max(self._from, len(self._held) - self._closings.longest + 1)
            return False
        end = found.end() if self.style is not None and self.style.closing is not None else found.start()
        return self._close(end, found.end())

    def _close(self, end: int, behind: int, *, at_end: bool = False) -> bool:
        """The call may end at `end`; where it breaks off there, it may yet end further on, `behind` that mark."""
        call, blanks = self._held[:end], self._blanks or ""
        self._tries += 1
        try:
            calls = [] if self.style is None else self.style.read(call, self.tools)
        except Malformed as error:
            if error.unfinished and not at_end and self._tries < MOST_TRIES:
                self._from = behind
                return True
            if self._parts is not None and self._parts.began:
                end = self._parts.end(call)
                self.over = self.one_call
                self._quiet = self._follows = True
            else:
                self._tell(blanks + self._opening)  # what is behind it may hold another call
                self._quiet, end = False, len(self._opening)
        else:
            self._runs.call(self._untold(calls))
            self.over = self.one_call
            self._quiet = self._follows = True
        self._held, self._blanks, self._parts = self._held[end:], None, None
        return True

    def _cut(self) -> bool:
        """The call was cut; False where it is whole, or no call as far as can be told."""
        assert self.style is not None  # of which the call is
        if self._parts is not None and self._parts.is_open:
            return False  # it ends as it stands
        try:
            if all(call.name in self.tools for call in self.style.read(self._held, self.tools)):
                return False
        except Malformed:
            pass
        calls = cut_calls(self.style, self._held, self.tools)
        if not calls and not self.must:
            return False
        self._runs.call(self._untold(calls))
        self._held, self._blanks, self._parts = "", None, None
        self._quiet = self._follows = True
        return True

    def _untold(self, calls: list[ToolCall]) -> list[ToolCall]:
        told = 0 if self._parts is None else self._parts.told
        return (calls[:1] if self.one_call else calls)[told:]


def _begins(text: str, heads: tuple[str, ...]) -> bool | None:
    """Whether `text` begins with one of `heads`, blanks left out; None where that cannot be told yet."""
    squeezed = "".join(text[:LONGEST_HEAD].split())
    if any(squeezed.startswith(head) for head in heads):
        return True
    may = len(text) < LONGEST_HEAD and any(head.startswith(squeezed) for head in heads)
    return None if may else False
