"""Every failure is one sentence, perhaps a hint, and the exit code its kind has."""

import errno
from pathlib import Path

import pytest

from unillm.models.errors import ConfigError, UnknownArchitecture
from unillm.registry import errors as registry
from unillm.runtime import errors as runtime
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
        (registry.NoWeights("./dir", "holds no weights"), Report("./dir: holds no weights", None, Exit.NOT_FOUND)),
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


def test_text_that_is_not_utf8_is_the_users_to_convert() -> None:
    with pytest.raises(UnicodeEncodeError) as raised:
        "a\udcff".encode()
    assert report(raised.value).code == Exit.USAGE


def test_an_unknown_error_is_called_a_bug() -> None:
    told = report(ZeroDivisionError("division by zero"))
    assert told.message == "unexpected ZeroDivisionError: division by zero"
    assert told.code == Exit.FAILED
    assert told.hint is not None
    assert "--debug" in told.hint


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (registry.InvalidName("../x", "it has dots"), Exit.USAGE),
        (registry.ModelNotFound("llama9"), Exit.NOT_FOUND),
        (registry.NotInstalled("llama3"), Exit.NOT_FOUND),
        (registry.RevisionNotFound("org/repo", "v9"), Exit.NOT_FOUND),
        (registry.GatedModel("org/repo", "https://hub/org/repo", logged_in=False), Exit.NOT_ALLOWED),
        (registry.Unauthorized("org/repo", logged_in=False), Exit.NOT_ALLOWED),
        (registry.SourceUnreachable("the hub", "no route"), Exit.NETWORK),
        (registry.OfflineMode("llama3"), Exit.NETWORK),
        (registry.DiskFull(Path("/models"), 10, 1), Exit.NO_ROOM),
        (registry.ChecksumMismatch("a.gguf", "1", "2"), Exit.FAILED),
        (runtime.InvalidParameter("top_p", 2, "between 0 and 1"), Exit.USAGE),
        (runtime.PromptTooLong(9, 8), Exit.FAILED),
        (runtime.DeviceNotFound("cuda", ["cpu"]), Exit.FAILED),
        (runtime.NotEnoughMemory(9, 8), Exit.NO_ROOM),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_kind_of_error_has_its_exit_code(error: Exception, code: Exit) -> None:
    assert report(error).code == code


def test_what_one_source_says_of_the_model_outweighs_that_others_are_out_of_reach() -> None:
    far = registry.SourceUnreachable("the hub", "no route")
    gated = registry.GatedModel("org/repo", "https://hub/org/repo", logged_in=False)
    assert report(registry.NotFetched("llama3", [far, gated])).code == Exit.NOT_ALLOWED
    assert report(registry.NotFetched("llama3", [far, far])).code == Exit.NETWORK


def test_every_error_of_the_floors_below_is_told_in_its_own_words() -> None:
    """A new one without an exit code of its own ends with 1, never as a bug."""
    for module, base in ((registry, registry.RegistryError), (runtime, runtime.RuntimeFault)):
        kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Exception)]
        assert all(issubclass(kind, base) for kind in kinds)
