"""Running the command line inside a test: streams that remember, and `run`, which is `main` with them."""

from collections.abc import Mapping
from io import StringIO
from typing import NamedTuple

from unillm.unillm_cli.app import main


class Ran(NamedTuple):
    """What one command left behind."""

    code: int
    out: str
    err: str


class Stream(StringIO):
    """A text stream that may claim to be a terminal."""

    def __init__(self, text: str = "", *, terminal: bool = False) -> None:
        super().__init__(text)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def run(
    *args: str, stdin: str = "", terminal: bool = False, environ: Mapping[str, str] | None = None, piped: bool = True
) -> Ran:
    """`unillm args`; a terminal is one for both outputs, and standard input is one unless it is piped."""
    surroundings = {"UNILLM_CONFIG": "/nowhere/config.toml", "TERM": "xterm", **(environ or {})}
    out, err = Stream(terminal=terminal), Stream(terminal=terminal)
    code = main(args, stdin=Stream(stdin, terminal=not piped), stdout=out, stderr=err, environ=surroundings)
    return Ran(code, out.getvalue(), err.getvalue())
