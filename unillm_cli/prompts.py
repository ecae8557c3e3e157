"""Where a prompt comes from: `--prompt`, the words of the command, standard input; and how they add up."""

import select
from collections.abc import Sequence
from typing import TextIO

from .errors import UsageError
from .session import Session

_PATIENCE = 2.0


def read_prompt(session: Session, words: Sequence[str], flag: str | None, *, exact: bool) -> str:
    """The prompt: what comes on standard input, a newline, what was typed; either may be missing, not both.

    Standard input is read where it is not a terminal, or for the one word "-". Its last newline does not count, unless
    the text is wanted `exact`.
    """
    if words and flag is not None:
        raise UsageError("the prompt is given twice", "give it with --prompt, or as the command's words")
    typed = flag if flag is not None else " ".join(words)
    if typed == "-":
        return _told(_piped(session, exact=exact), "standard input is empty")
    piped = "" if is_typed_at(session.stdin) else _piped(session, exact=exact and not typed)
    return _told("\n".join(part for part in (piped, typed) if part), "there is no prompt")


def _told(prompt: str, problem: str) -> str:
    if not prompt:
        raise UsageError(problem, 'give one: unillm generate "Explain gravity in one sentence"')
    return prompt


def _piped(session: Session, *, exact: bool) -> str:
    if session.stdin is None:
        return ""
    if not _has_begun(session.stdin):
        session.output.say("waiting for standard input to end (Ctrl-D, or < /dev/null where there is none)")
    try:
        text = session.stdin.read()
    except ValueError as error:
        raise UsageError(f"standard input cannot be read: {error}") from error
    return text if exact else text.removesuffix("\n").removesuffix("\r")


def is_typed_at(stdin: TextIO | None) -> bool:
    """Whether standard input is a terminal, or nothing at all."""
    try:
        return stdin is None or stdin.isatty()
    except ValueError:
        return True


def _has_begun(stdin: TextIO) -> bool:
    """Whether something comes soon; streams that cannot be asked count as begun."""
    try:
        return bool(select.select([stdin], [], [], _PATIENCE)[0])
    except (OSError, ValueError):
        return True
