"""Models of the user's own, made from a Modelfile."""

from pathlib import Path

import pytest

from unillm.registry.create import create
from unillm.registry.errors import FormatError, InvalidName, ModelfileError, ModelNotFound, NoWeights
from unillm.registry.files import Message
from unillm.registry.locate import locate
from unillm.registry.modelfile import parse_modelfile
from unillm.registry.names import ModelRef
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Entry, Shelf
from unillm.tests.registry.conftest import Heard
from unillm.tests.support.fake_hub import FakeHub, Repo
from unillm.tests.support.tiny_models import gguf_file, original

CHATML = (
    '"""{{if .System}}<|im_start|>system\n{{ .System }}<|im_end|>\n{{end}}{{if .Prompt}}<|im_start|>user\n'
    '{{ .Prompt }}<|im_end|>\n{{end}}<|im_start|>assistant\n"""'
)
OTHER = "{{ range .Messages }}{{ .Content }}{{ end }}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recipes"
    (folder / "weights").mkdir(parents=True)
    for name, data in original().items():
        (folder / "weights" / name).write_bytes(data)
    return folder


@pytest.fixture
def online(online: RegistrySettings, hub: FakeHub) -> RegistrySettings:
    hub.repos["org/repo"] = Repo(original())
    hub.repos["org/chat"] = Repo(
        original() | {"chat_template.jinja": b"{{ bos_token }}{{ messages }}"}, commit="c" * 40
    )
    return online


def made(text: str, settings: RegistrySettings, heard: Heard | None = None, at: Path = Path()) -> Entry:
    return create("mine", parse_modelfile(at / "Modelfile", text), settings, heard if heard is not None else Heard())


def test_a_model_has_what_its_modelfile_says_and_the_files_of_another(online: RegistrySettings) -> None:
    base = pull("org/repo", online)
    entry = made(
        "FROM org/repo\nSYSTEM Arr!\nPARAMETER temperature 0.5\nTEMPLATE {{ messages[0].content }}\n"
        "MESSAGE user Hi\nLICENSE MIT",
        online,
    )
    files = locate("mine", online)
    assert files.files == base.files().files
    assert (files.system, files.parameters) == ("Arr!", {"temperature": 0.5})
    assert files.template == "{{ messages[0].content }}"
    assert files.messages == (Message("user", "Hi"),)
    assert Shelf(online).find(ModelRef.parse("mine:latest")) == entry
    assert entry.sound.terms == "MIT"
    assert entry.sound.id != base.sound.id


def test_what_from_names_is_pulled(online: RegistrySettings) -> None:
    made("FROM org/repo\nSYSTEM x", online)
    assert [one.name for one in Shelf(online).entries()] == ["mine:latest", "org/repo"]


def test_a_model_outlives_the_one_it_was_made_from(online: RegistrySettings) -> None:
    entry = made("FROM org/repo\nSYSTEM x", online)
    shelf = Shelf(online)
    assert shelf.remove(shelf.need(ModelRef.parse("org/repo"))).freed == 0
    assert shelf.verify(entry) == []
    assert shelf.remove(entry).left == 0


def test_a_model_made_of_a_made_one_adds_to_it(online: RegistrySettings) -> None:
    create("first", parse_modelfile(Path("a"), "FROM org/repo\nSYSTEM a\nPARAMETER seed 1\nPARAMETER top_k 2"), online)
    second = made("FROM first\nPARAMETER seed 3", online).sound
    assert (second.system, second.parameters) == ("a", {"seed": 3, "top_k": 2})


def test_making_it_again_replaces_it(online: RegistrySettings) -> None:
    made("FROM org/repo\nSYSTEM a", online)
    made("FROM org/chat\nSYSTEM b", online)
    assert Shelf(online).need(ModelRef.parse("mine:latest")).sound.system == "b"
    assert len(Shelf(online).entries()) == 3


def test_a_path_is_looked_for_beside_the_modelfile(folder: Path, settings: RegistrySettings) -> None:
    entry = made("FROM ./weights/\nSYSTEM x", settings, at=folder)
    assert entry.files().weights == (folder / "weights" / "model.safetensors",)
    assert made("FROM ./weights/model.safetensors", settings, at=folder).sound.system is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("FROM a b", ModelfileError),
        ("FROM http://x/y", ModelfileError),
        ("FROM ./none", NoWeights),
        ("FROM /dev/zero", NoWeights),
        ("FROM ./weights/config.json", NoWeights),
        ("FROM tinylama", ModelNotFound),
    ],
)
def test_what_cannot_be_had_leaves_nothing(
    folder: Path, settings: RegistrySettings, text: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        made(text, settings, at=folder)
    assert Shelf(settings).entries() == []


@pytest.mark.parametrize("name", ["./mine", "org/repo", "mine.gguf", ""])
def test_it_must_have_a_name_of_ones_own(online: RegistrySettings, name: str) -> None:
    with pytest.raises(InvalidName):
        create(name, parse_modelfile(Path("Modelfile"), "FROM org/repo"), online)


# Templates of Ollama's


def test_a_known_template_becomes_jinja(online: RegistrySettings) -> None:
    template = made(f"FROM org/repo\nTEMPLATE {CHATML}", online).sound.template
    assert template is not None
    assert "message.role + '\\n' + message.content" in template
    assert "bos_token" not in template


def test_a_known_template_begins_as_the_models_own_does(online: RegistrySettings) -> None:
    assert "bos_token" in (made(f"FROM org/chat\nTEMPLATE {CHATML}", online).sound.template or "")


def test_an_unknown_template_gives_way_to_the_models_own_aloud(online: RegistrySettings, heard: Heard) -> None:
    assert made(f"FROM org/chat\nTEMPLATE {OTHER}", online, heard).sound.template is None
    assert any("line 2" in text and "the model's own is used" in text for text in heard.notices())


@pytest.mark.parametrize("template", [OTHER, "{{ .Prompt }}", "no place at all"])
def test_an_unknown_template_without_another_is_refused(online: RegistrySettings, template: str) -> None:
    with pytest.raises(ModelfileError, match="line 2"):
        made(f"FROM org/repo\nTEMPLATE {template}", online)
    assert Shelf(online).find(ModelRef.parse("mine:latest")) is None


def test_a_broken_weight_file_is_named(settings: RegistrySettings, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(gguf_file(tmp_path)[:20])
    with pytest.raises(FormatError, match=r"x\.gguf"):
        made(f"FROM ./x.gguf\nTEMPLATE {CHATML}", settings, at=tmp_path)
