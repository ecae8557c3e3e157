'''What is typed: a line, or text of several lines between """ and """, or what was pasted.

On a terminal prompt-toolkit edits it; elsewhere lines are read as they come. Only a line that was typed is a command:
what comes in one burst with further lines behind it was pasted, whoever says otherwise.
'''

import re
import select
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from ..escapes import visible
from ..session import Session

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

QUOTES: Final = '"""'
PROMPT, MORE = ">>> ", "... "
_MENU: Final = 4  # lines under the prompt, for what may be completed
_LONG_PASTE: Final = 2000  # characters: beyond, a line stands for it while it is edited


class Reader(Protocol):
    """Where the user's words come from."""

    def read(self) -> str:
        """The next input. Raises `EOFError` when there is no more, `KeyboardInterrupt` at Ctrl-C."""
        ...


def is_open(text: str) -> bool:
    """Whether quotes were opened in `text` and not closed: what is typed next belongs to it."""
    begun = text.lstrip()
    return begun.startswith((QUOTES, "/")) and text.count(QUOTES) % 2 == 1


def unquoted(text: str) -> str:
    """The text within its quotes; without quotes, as it is."""
    inner = text.strip()
    if inner.startswith(QUOTES):
        return inner.removeprefix(QUOTES).removesuffix(QUOTES).strip("\n")
    if len(inner) > 1 and inner[0] == inner[-1] == '"':
        return inner[1:-1]
    return text


class Lines:
    """A line at a time from standard input. At a terminal that cannot be steered it asks for each."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asks = session.stdin is not None and session.stdin.isatty()

    def read(self) -> str:
        text = self._line(PROMPT)
        while is_open(text):
            text += f"\n{self._line(MORE)}"
        return text

    def _line(self, prompt: str) -> str:
        if self._asks:
            self._session.output.prompt(prompt)
        line = "" if self._session.stdin is None else self._session.stdin.readline()
        if not line:
            raise EOFError
        return line.removesuffix("\n").removesuffix("\r")


class Keyboard:
    """A line editor with history, completion and a status line. `status` says what stands in it."""

    def __init__(self, session: Session, history: "History", completer: "Completer", status: Callable[[], str]) -> None:
        self._pastes: list[str] = []
        self._prompt = _prompt_session(session, history, completer, status, _keys(self._take_paste))

    def read(self) -> str:
        self._pastes.clear()
        text = self._prompt.prompt(PROMPT, prompt_continuation=_continuation)
        whole = re.sub(r"\[pasted text (\d+): [\d,]+ letters\]", self._pasted, text)
        return whole.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def _take_paste(self, text: str) -> str:
        """What stands in the line for a paste."""
        if len(text) < _LONG_PASTE:
            return text
        self._pastes.append(text)
        return f"[pasted text {len(self._pastes)}: {len(text):,} letters]"

    def _pasted(self, match: re.Match[str]) -> str:
        number = int(match[1])
        return self._pastes[number - 1] if 0 < number <= len(self._pastes) else match[0]


def _prompt_session(
    session: Session, history: "History", completer: "Completer", status: Callable[[], str], keys: "KeyBindings"
) -> "PromptSession[str]":
    from prompt_toolkit import PromptSession
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.formatted_text import FormattedText
    from prompt_toolkit.input import create_input
    from prompt_toolkit.output import create_output
    from prompt_toolkit.styles import Style

    def toolbar() -> FormattedText:
        width = shutil.get_terminal_size().columns
        return FormattedText([("", visible(status())[: max(width - 1, 0)])])

    made: PromptSession[str] = PromptSession(
        input=create_input(session.stdin),
        output=create_output(session.stdout),
        history=history,
        completer=completer,
        complete_while_typing=Condition(lambda: made.default_buffer.text.startswith("/")),
        key_bindings=keys,
        bottom_toolbar=toolbar,
        placeholder=FormattedText([("class:placeholder", "Send a message (/? for help)")]),
        style=Style.from_dict({"bottom-toolbar": "noreverse ansibrightblack", "placeholder": "ansibrightblack"}),
        multiline=True,
        reserve_space_for_menu=_MENU,
        enable_suspend=True,
        tempfile_suffix=".md",
    )
    return made


def _continuation(_width: int, _line: int, wrapped: bool | int) -> str:
    """What stands before further lines; a line that only goes on below has nothing before it."""
    return "" if wrapped else MORE


def _keys(take_paste: Callable[[str], str]) -> "KeyBindings":
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.keys import Keys

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: "KeyPressEvent") -> None:
        if is_open(event.current_buffer.text) or _more_comes(event):
            event.current_buffer.insert_text("\n")
        else:
            event.current_buffer.validate_and_handle()

    @keys.add("c-j")
    @keys.add("escape", "enter")
    def _(event: "KeyPressEvent") -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-g")
    def _(event: "KeyPressEvent") -> None:
        event.current_buffer.open_in_editor()

    @keys.add(Keys.BracketedPaste)
    def _(event: "KeyPressEvent") -> None:
        text = event.data.replace("\r\n", "\n").replace("\r", "\n")
        event.current_buffer.insert_text(take_paste(text))

    return keys


def _more_comes(event: "KeyPressEvent") -> bool:
    """Whether further keys came with this one: nobody types so fast, so that this is a paste."""
    from prompt_toolkit.keys import Keys

    ignored = (Keys.CPRResponse, Keys.Ignore)
    if any(press.key not in ignored for press in event.app.key_processor.input_queue):
        return True
    if sys.platform == "win32" or event.app.renderer.waiting_for_cpr:  # what comes may be the terminal's own reply
        return False
    return bool(select.select([event.app.input.fileno()], [], [], 0)[0])
