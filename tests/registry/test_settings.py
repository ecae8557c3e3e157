from pathlib import Path

import pytest

from unillm.registry.errors import SettingRefused
from unillm.registry.settings import RegistrySettings


def read(tmp_path: Path, **environ: str) -> RegistrySettings:
    return RegistrySettings.from_environment({"HF_HOME": str(tmp_path), **environ})


def test_the_hubs_own_variables_are_honoured(tmp_path: Path) -> None:
    settings = read(
        tmp_path, HF_TOKEN="hf_x", HF_ENDPOINT="https://mirror.example/", HF_HUB_OFFLINE="1", UNILLM_HOME="/models"
    )
    assert settings.token == "hf_x"
    assert settings.endpoint == "https://mirror.example"
    assert settings.offline
    assert settings.home == Path("/models")
    assert settings.cache_dir == tmp_path / "hub"


def test_the_cache_can_be_elsewhere(tmp_path: Path) -> None:
    assert read(tmp_path, HF_HUB_CACHE="/cache").cache_dir == Path("/cache")


def test_a_login_is_found_where_the_hubs_tool_leaves_it(tmp_path: Path) -> None:
    assert read(tmp_path).token is None
    (tmp_path / "token").write_text("hf_kept\n")
    assert read(tmp_path).token == "hf_kept"
    assert read(tmp_path, HF_TOKEN="hf_said").token == "hf_said"


def test_the_token_is_never_shown(tmp_path: Path) -> None:
    assert "hf_secret" not in repr(read(tmp_path, HF_TOKEN="hf_secret"))


@pytest.mark.parametrize("endpoint", ["ftp://x", "file:///etc", "hub"])
def test_an_endpoint_is_an_address_of_the_web(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(SettingRefused, match="HF_ENDPOINT"):
        read(tmp_path, HF_ENDPOINT=endpoint)


def test_offline_can_be_said_in_our_own_word(tmp_path: Path) -> None:
    assert read(tmp_path, UNILLM_OFFLINE="true").offline
    assert not read(tmp_path, UNILLM_OFFLINE="0", HF_HUB_OFFLINE="").offline
