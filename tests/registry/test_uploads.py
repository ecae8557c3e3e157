"""Files that somebody sends: whole and right, or not there; and the models that are made of them."""

from hashlib import sha256
from pathlib import Path

import pytest

from unillm.registry.create import create
from unillm.registry.digests import Digest
from unillm.registry.errors import ChecksumMismatch, FormatError, NotUploaded, NoWeights
from unillm.registry.modelfile import Modelfile
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.registry.uploads import Upload, is_here, manifest_of_uploads
from unillm.tests.support.talking import talking_model


@pytest.fixture
def settings(tmp_path: Path) -> RegistrySettings:
    return RegistrySettings(home=tmp_path / "home", aliases=tmp_path / "none.toml", cache_dir=tmp_path / "cache")


def digest(data: bytes) -> Digest:
    return Digest("sha256", sha256(data).hexdigest())


def send(data: bytes, settings: RegistrySettings, as_if: bytes | None = None) -> Digest:
    wanted = digest(data if as_if is None else as_if)
    with Upload(wanted, settings) as upload:
        for at in range(0, len(data), 1000):
            upload.write(data[at : at + 1000])
        upload.finish()
    return wanted


def drafts(settings: RegistrySettings) -> list[Path]:
    return list((settings.home / "partial").iterdir())


def test_a_file_is_here_when_all_of_it_has_come(settings: RegistrySettings) -> None:
    assert not is_here(digest(b"abc"), settings)
    assert is_here(send(b"abc", settings), settings)
    assert drafts(settings) == []


def test_a_file_that_is_another_is_refused_and_leaves_nothing(settings: RegistrySettings) -> None:
    with pytest.raises(ChecksumMismatch, match=str(digest(b"abd"))):
        send(b"abc", settings, as_if=b"abd")
    assert not is_here(digest(b"abd"), settings)
    assert drafts(settings) == []


def test_a_file_that_breaks_off_leaves_nothing(settings: RegistrySettings) -> None:
    with Upload(digest(b"abc"), settings) as upload:
        upload.write(b"ab")
        assert len(drafts(settings)) == 1
    assert drafts(settings) == []
    assert not is_here(digest(b"abc"), settings)


def test_a_model_is_made_of_files_that_were_sent(settings: RegistrySettings, tmp_path: Path) -> None:
    folder = talking_model(tmp_path / "model")
    sent = {path.name: send(path.read_bytes(), settings) for path in folder.iterdir()}
    base = manifest_of_uploads("sent", sent, settings)
    entry = create("sent", Modelfile(Path("request"), system="Be brief"), settings, base=base)
    assert Shelf(settings).verify(entry) == []
    assert entry.files().system == "Be brief"
    assert entry.sound.details.architecture == "LlamaForCausalLM"
    assert Shelf(settings).remove(entry).freed == entry.sound.size


def test_what_was_not_sent_makes_no_model(settings: RegistrySettings) -> None:
    with pytest.raises(NotUploaded, match=str(digest(b"abc"))):
        manifest_of_uploads("sent", {"model.gguf": digest(b"abc")}, settings)
    with pytest.raises(NoWeights):
        manifest_of_uploads("sent", {"notes.txt": send(b"abc", settings)}, settings)
    with pytest.raises(FormatError):
        manifest_of_uploads("sent", {"model.gguf": send(b"abc", settings)}, settings)
