"""Flags win over the environment, that over the file, that over what is built in; mistakes are named."""

from pathlib import Path

import pytest

from unillm.unillm_cli.errors import SettingsError
from unillm.unillm_cli.settings import KEYS, Settings, config_file


def settings(tmp_path: Path, file: str = "", flags: dict[str, object] | None = None, **environ: str) -> Settings:
    (tmp_path / "config.toml").write_text(file)
    return Settings.read({"UNILLM_CONFIG": str(tmp_path / "config.toml"), **environ}, **(flags or {}))


def test_nothing_set_means_the_defaults(tmp_path: Path) -> None:
    found = Settings.read({"UNILLM_CONFIG": str(tmp_path / "absent.toml")})
    assert (found.model, found.device, found.dtype, found.context, found.offline) == (None, "auto", "auto", None, False)


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = 'model = "from-file"\ncontext = 64\n'
    assert settings(tmp_path, file).model == "from-file"
    assert settings(tmp_path, file, UNILLM_MODEL="from-environment").model == "from-environment"
    flags: dict[str, object] = {"model": "from-flag", "context": None}
    found = settings(tmp_path, file, flags, UNILLM_MODEL="from-environment")
    assert (found.model, found.context) == ("from-flag", 64)


def test_the_floors_below_see_what_was_set_as_environment(tmp_path: Path) -> None:
    found = settings(tmp_path, 'offline = true\nhome = "/models"\n', {"context": 32}, HF_TOKEN="secret")
    assert found.environment["UNILLM_OFFLINE"] == "true"
    assert found.environment["UNILLM_HOME"] == "/models"
    assert found.environment["UNILLM_CONTEXT"] == "32"
    assert found.environment["HF_TOKEN"] == "secret"


def test_an_empty_variable_is_as_good_as_none(tmp_path: Path) -> None:
    assert settings(tmp_path, 'model = "a"', UNILLM_MODEL="").model == "a"


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("modle = 'x'", ["config.toml", "'modle'"]),
        ("context = 0", ["config.toml: context", "above 0"]),
        ("context = 1.5", ["config.toml: context", "1.5"]),
        ("prefix_cache = 'tree'", ["config.toml: prefix_cache", "radix, hash, off"]),
        ("max_running = 0", ["config.toml: max_running", "above 0"]),
        ("faults = 'nowhere'", ["config.toml: faults", "'nowhere'", "encode, render"]),
        ("offline = 'perhaps'", ["config.toml: offline", "'perhaps'"]),
        ("model = ['a']", ["config.toml: model"]),
        ("model = ", ["config.toml", "not TOML"]),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, file: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, file)
    assert all(word in str(caught.value) for word in words)


def test_an_unknown_key_is_told_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, "modle = 'x'")
    assert caught.value.hint is not None
    assert all(name in caught.value.hint for name in KEYS)


def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="UNILLM_CONTEXT"):
        settings(tmp_path, UNILLM_CONTEXT="many")


def test_a_folder_where_the_file_should_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=str(tmp_path)):
        Settings.read({"UNILLM_CONFIG": str(tmp_path)})


def test_the_file_lies_in_the_platforms_folder() -> None:
    assert config_file({}).parts[-2:] == ("unillm", "config.toml")
