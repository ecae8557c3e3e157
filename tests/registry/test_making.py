"""Files that are made here: nothing stays of what was not finished, and what was is kept under its checksum."""

from hashlib import sha256
from pathlib import Path

import pytest

from unillm.registry.errors import StoreBusy
from unillm.registry.making import keep, workplace
from unillm.registry.prune import prune
from unillm.registry.settings import RegistrySettings


@pytest.fixture
def settings(tmp_path: Path) -> RegistrySettings:
    return RegistrySettings.from_environment({"UNILLM_HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf")})


def test_a_finished_file_is_kept_and_its_folder_goes(settings: RegistrySettings) -> None:
    with workplace(settings) as folder:
        (folder / "made").write_bytes(b"whole")
        digest = keep(folder / "made", settings)
        (folder / "other").write_bytes(b"left over")
    assert digest.hex == sha256(b"whole").hexdigest()
    assert (settings.home / "blobs" / f"sha256-{digest.hex}").read_bytes() == b"whole"
    assert not folder.exists()


def test_nothing_is_pruned_while_something_is_made(settings: RegistrySettings) -> None:
    with workplace(settings), pytest.raises(StoreBusy):
        prune(settings)
    prune(settings)
