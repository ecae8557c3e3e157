"""What a command is given besides its own words: the streams, the environment and what the user has set.

A session is made once, in `app.main`; tests make their own. Commands take it as their first argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

from .output import Output
from .settings import Settings


@dataclass(slots=True)
class Session:
    """One run of the program. `json`, `quiet` and `debug` are the options that every command has."""

    stdin: TextIO | None
    stdout: TextIO | None
    stderr: TextIO | None
    environ: Mapping[str, str]
    json: bool = False
    quiet: bool = False
    debug: bool = False
    output: Output = field(init=False)

    def __post_init__(self) -> None:
        self.take(json=self.json, quiet=self.quiet, debug=self.debug)

    def take(self, *, json: bool, quiet: bool, debug: bool) -> None:
        """Heed the options that every command has."""
        self.json, self.quiet, self.debug = json, quiet, debug
        self.output = Output(self.stdout, self.stderr, self.environ, json=json, quiet=quiet)

    def settings(self, **flags: object) -> Settings:
        """The settings in force; `flags` that are None were not given."""
        return Settings.read(self.environ, **flags)
