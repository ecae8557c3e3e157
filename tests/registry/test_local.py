"""Models that are used where they lie."""

import os
from pathlib import Path

import pytest

from unillm.registry.errors import ChecksumMismatch, InvalidName, NotInstalled, NoWeights
from unillm.registry.events import Verifying
from unillm.registry.locate import locate
from unillm.registry.names import ModelRef
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.tests.registry.conftest import Heard
from unillm.tests.support.fake_hub import FakeHub, Repo
from unillm.tests.support.tiny_models import gguf_file, original, sharded


def laid_out(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return laid_out(tmp_path / "My Model", original())


def test_a_folder_is_used_in_place_and_nothing_is_written(folder: Path, settings: RegistrySettings) -> None:
    files = locate(str(folder), settings)
    assert files.format == "safetensors"
    assert files.weights == (folder / "model.safetensors",)
    assert files.files["config.json"] == folder / "config.json"
    assert "modeling_evil.py" not in files.files
    assert not settings.home.exists()


def test_a_path_is_read_from_where_the_user_is(
    folder: Path, settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert locate(".", settings).weights == (folder / "model.safetensors",)
    assert locate("model.safetensors", settings).weights == (folder / "model.safetensors",)


def test_one_part_stands_for_all(tmp_path: Path, settings: RegistrySettings) -> None:
    folder = laid_out(tmp_path / "parts", sharded(3))
    files = locate(str(folder / "model-00002-of-00003.safetensors"), settings)
    assert [path.name for path in files.weights] == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert {"config.json", "model.safetensors.index.json"} <= set(files.files)


def test_a_gguf_file_needs_nothing_beside_it(tmp_path: Path, settings: RegistrySettings) -> None:
    path = tmp_path / "tiny-Q8_0.gguf"
    path.write_bytes(gguf_file(tmp_path))
    files = locate(str(path), settings)
    assert (files.format, files.weights, set(files.files)) == ("gguf", (path,), {path.name})


@pytest.mark.parametrize(
    ("name", "trouble"),
    [("missing/", "no such folder"), ("missing.gguf", "no such file"), ("empty/", "holds no weights")],
)
def test_what_is_not_there_is_told(tmp_path: Path, settings: RegistrySettings, name: str, trouble: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoWeights, match=trouble):
        locate(f"{tmp_path}/{name}", settings)


def test_a_folder_can_be_given_a_name_without_a_copy(folder: Path, settings: RegistrySettings, heard: Heard) -> None:
    entry = pull(f"{folder}/", settings, heard, name="mine:latest")
    assert entry.name == "mine:latest"
    assert next(event.file for event in heard if isinstance(event, Verifying)) == "model.safetensors"
    assert locate("mine", settings).weights == (folder / "model.safetensors",)
    assert not any(path.stat().st_size > 4000 for path in settings.home.rglob("*") if path.is_file())
    assert str(entry.sound.origin) == str(folder)


def test_without_a_name_it_is_called_as_its_file_is(tmp_path: Path, settings: RegistrySettings) -> None:
    (tmp_path / "Tiny-Q8_0.gguf").write_bytes(gguf_file(tmp_path))
    assert pull(f"{tmp_path}/Tiny-Q8_0.gguf", settings).name == "tiny-q8_0:latest"


def test_a_folder_whose_name_is_no_models_needs_one(folder: Path, settings: RegistrySettings) -> None:
    with pytest.raises(InvalidName, match="give it another with --name"):
        pull(f"{folder}/", settings)
    with pytest.raises(InvalidName):
        pull(f"{folder}/", settings, name="../elsewhere")


def test_removing_it_leaves_the_users_files(folder: Path, settings: RegistrySettings) -> None:
    shelf = Shelf(settings)
    removed = shelf.remove(pull(f"{folder}/", settings, name="mine"))
    assert removed.freed == 0
    assert (folder / "model.safetensors").exists()


def test_a_file_that_the_user_changed_is_noticed(folder: Path, settings: RegistrySettings) -> None:
    pull(f"{folder}/", settings, name="mine")
    (folder / "config.json").write_bytes(b"{" + b" " * (len(original()["config.json"]) - 2) + b"}")
    with pytest.raises(ChecksumMismatch, match=r"config\.json"):
        locate("mine", settings)
    pull(f"{folder}/", settings, name="mine")
    assert locate("mine", settings)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_is_no_weight_file(tmp_path: Path, settings: RegistrySettings) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(NoWeights, match="no such file"):
        locate(f"{tmp_path}/pipe.gguf", settings)


def test_a_missing_model_is_pulled_unless_that_is_not_wanted(hub: FakeHub, online: RegistrySettings) -> None:
    hub.repos["Qwen/Qwen3-0.6B"] = Repo(original())
    with pytest.raises(NotInstalled) as caught:
        locate("qwen3:0.6b", online, pull_missing=False)
    assert caught.value.hint == "fetch it: unillm pull qwen3:0.6b"
    assert locate("qwen3:0.6b", online).name == "qwen3:0.6b"
    asked = len(hub.asked)
    assert locate("Qwen3:0.6B", online).name == "qwen3:0.6b"
    assert len(hub.asked) == asked


def test_near_names_of_the_shelf_are_suggested_too(folder: Path, settings: RegistrySettings) -> None:
    pull(f"{folder}/", settings, name="myfinetune")
    with pytest.raises(NotInstalled) as caught:
        locate("myfinetun", settings, pull_missing=False)
    assert caught.value.near == ["myfinetune"]


def test_other_tags_of_the_same_row_find_what_is_installed(hub: FakeHub, online: RegistrySettings) -> None:
    hub.repos["microsoft/Phi-3-mini-4k-instruct"] = Repo(original())
    pull("phi3", online)
    assert locate("phi3:3.8b", online).name == "phi3:mini"
    assert Shelf(online).find(ModelRef.parse("phi3:3.8b")) is None
