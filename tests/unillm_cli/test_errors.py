"""Every failure is one sentence, perhaps a hint, and the exit code its kind has."""

import errno
from pathlib import Path

import pytest

from unillm.models.errors import ConfigError, UnknownArchitecture
from unillm.registry.errors import FormatError
from unillm.unillm_cli.errors import Exit, OutputFailed, Report, SettingsError, UsageError, report


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UsageError("both", "one"), Report("both", "one", Exit.USAGE)),
        (SettingsError("config.toml", "bad"), Report("config.toml: bad", None, Exit.USAGE)),
        (OutputFailed("full"), Report("cannot write to standard output: full", None, Exit.FAILED)),
        (
            UnknownArchitecture("Lama", ["Llama"]),
            Report("the architecture 'Lama' is not one that unillm runs", "near: Llama", Exit.FAILED),
        ),
        (ConfigError("hidden_size", "missing"), Report("hidden_size: missing", None, Exit.FAILED)),
        (FormatError(Path("a.gguf"), "magic", "wrong", 0), Report("a.gguf: magic at byte 0: wrong", None, Exit.FAILED)),
        (FileNotFoundError(errno.ENOENT, "No such file", "a"), Report("a: No such file", None, Exit.NOT_FOUND)),
        (PermissionError(errno.EACCES, "Permission denied", "a"), Report("a: Permission denied", None, Exit.FAILED)),
        (
            OSError(errno.ENOSPC, "No space left", "a"),
            Report("a: No space left", "free some space on that disk", Exit.NO_ROOM),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_known_error_has_its_sentence_and_code(error: Exception, expected: Report) -> None:
    assert report(error) == expected


def test_memory_that_is_out_has_a_way_on() -> None:
    told = report(MemoryError())
    assert told.code == Exit.NO_ROOM
    assert told.hint is not None


def test_an_unknown_error_is_called_a_bug() -> None:
    told = report(ZeroDivisionError("division by zero"))
    assert told.message == "unexpected ZeroDivisionError: division by zero"
    assert told.code == Exit.FAILED
    assert told.hint is not None
    assert "--debug" in told.hint
