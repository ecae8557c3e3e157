"""Models in Ollama's store: used where they lie, never without their template, never written."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest

from unillm.registry.errors import (
    BrokenManifest,
    FileMissing,
    FormatError,
    InvalidName,
    NoTemplate,
    NotInstalled,
    NoWeights,
    RegistryError,
)
from unillm.registry.files import Message
from unillm.registry.locate import locate
from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.sources.ollama import ollama_models
from unillm.tests.registry.conftest import Heard
from unillm.tests.support.ollama_store import OllamaStore
from unillm.tests.support.tiny_models import gguf_file

ZEPHYR = (
    "{{ if .System }}<|system|>\n{{ .System }}</s>\n{{ end }}{{ if .Prompt }}<|user|>\n{{ .Prompt }}</s>\n"
    "{{ end }}<|assistant|>\n"
)
UNKNOWN = "{{ range .Messages }}{{ .Content }}{{ end }}"


@pytest.fixture
def store(tmp_path: Path) -> OllamaStore:
    return OllamaStore(tmp_path / "ollama")


@pytest.fixture
def settings(settings: RegistrySettings, store: OllamaStore) -> RegistrySettings:
    return replace(settings, ollama=store.root)


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    return gguf_file(tmp_path)


def with_template(folder: Path, template: str) -> bytes:
    path = folder / "templated.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_chat_template(template)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def test_a_model_runs_in_place_with_what_is_pinned_to_it(
    store: OllamaStore, settings: RegistrySettings, weights: bytes, heard: Heard
) -> None:
    store.model(
        "llama3",
        "8b",
        model=weights,
        system="Arr!",
        params={"stop": [" <end>", '"'], "num_ctx": 4096, "temperature": 0.5, "num_gpu": 9},
        messages=[{"role": "user", "content": "Hi"}],
        license="MIT",
    )
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    files = locate("ollama:llama3:8b", settings, heard)
    assert (files.name, files.format) == ("ollama:llama3:8b", "gguf")
    assert [path.read_bytes() for path in files.weights] == [weights]
    assert files.system == "Arr!"
    assert files.parameters == {"stop": [" <end>", '"'], "context": 4096, "temperature": 0.5}
    assert files.messages == (Message("user", "Hi"),)
    assert files.template is None
    assert any("num_gpu has no effect" in text for text in heard.notices())
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before
    assert not settings.home.exists()


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("tiny", "ollama:tiny"),
        ("tiny", "OLLAMA:tiny:latest"),
        ("tiny", "ollama:library/tiny"),
        ("user/tiny", "ollama:user/tiny"),
        ("hf.co/org/tiny", "ollama:hf.co/org/tiny"),
    ],
)
def test_a_model_is_found_by_the_name_that_it_has_there(
    store: OllamaStore, settings: RegistrySettings, weights: bytes, name: str, asked: str
) -> None:
    store.model(name, model=weights)
    assert locate(asked, settings).weights


def test_the_models_of_the_store_are_listed(store: OllamaStore, settings: RegistrySettings, weights: bytes) -> None:
    store.model("tiny", "1b", model=weights)
    store.model("user/tiny", model=weights)
    store.model("hf.co/org/tiny", "Q4_K_M", model=weights).write_text("{")
    (store.root / "manifests" / "x" / "y" / "z").mkdir(parents=True)
    (store.root / "manifests" / "x" / "y" / "z" / "a b").write_text("{}")
    assert [(one.name, one.size) for one in ollama_models(settings)] == [
        ("ollama:hf.co/org/tiny:Q4_K_M", None),
        ("ollama:tiny:1b", len(weights)),
        ("ollama:user/tiny:latest", len(weights)),
    ]
    for one in list(ollama_models(settings))[1:]:
        assert locate(one.name, settings).name == one.name


# Templates


def test_a_known_template_becomes_jinja(store: OllamaStore, settings: RegistrySettings, weights: bytes) -> None:
    store.model("tiny", model=weights, template=ZEPHYR)
    assert "'<|' + message.role + '|>\\n'" in (locate("ollama:tiny", settings).template or "")


@pytest.mark.parametrize("template", [ZEPHYR, UNKNOWN])
def test_the_models_own_template_is_preferred(
    store: OllamaStore, settings: RegistrySettings, tmp_path: Path, template: str
) -> None:
    store.model("tiny", model=with_template(tmp_path, "{{ messages }}"), template=template)
    assert locate("ollama:tiny", settings).template is None


def test_an_unknown_template_is_refused(store: OllamaStore, settings: RegistrySettings, weights: bytes) -> None:
    store.model("tiny", model=weights, template=UNKNOWN)
    with pytest.raises(NoTemplate, match="ollama:tiny:latest"):
        locate("ollama:tiny", settings)


def test_a_model_that_says_it_has_none_has_none(store: OllamaStore, settings: RegistrySettings, weights: bytes) -> None:
    store.model("base", model=weights, template="{{ .Prompt }}")
    assert locate("ollama:base", settings).template is None


# What cannot be


@pytest.mark.parametrize(
    "name", ["ollama:", "ollama:../x", "ollama:a/b/c/d", "ollama:x:../y", "ollama:/etc", "ollama:a:b:c"]
)
def test_a_name_that_leaves_the_store_is_none(settings: RegistrySettings, name: str) -> None:
    with pytest.raises(InvalidName):
        locate(name, settings)


def test_what_is_not_there_says_what_is(store: OllamaStore, settings: RegistrySettings, weights: bytes) -> None:
    store.model("llama3", "8b", model=weights)
    with pytest.raises(NotInstalled) as caught:
        locate("ollama:llama3", settings)
    assert caught.value.near == ["ollama:llama3:8b"]
    with pytest.raises(NoWeights, match="OLLAMA_MODELS"):
        locate("ollama:llama3", replace(settings, ollama=None))


def test_it_has_no_place_on_the_shelf(store: OllamaStore, settings: RegistrySettings, weights: bytes) -> None:
    store.model("tiny", model=weights)
    with pytest.raises(InvalidName, match="used there"):
        pull("ollama:tiny", settings)


@pytest.mark.parametrize("kind", ["adapter", "tensor", "draft"])
def test_what_is_kept_in_another_way_is_refused_by_its_name(
    store: OllamaStore, settings: RegistrySettings, weights: bytes, kind: str
) -> None:
    store.model("tiny", model=weights, **{kind: b"x"})
    with pytest.raises(NoWeights, match=kind):
        locate("ollama:tiny", settings)


def _layer(field: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        content["layers"][0][field] = value

    return change


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (_layer("digest", "sha256:../../../etc/passwd"), BrokenManifest),
        (_layer("digest", "sha256-" + "0" * 64), BrokenManifest),
        (_layer("digest", "git:" + "0" * 40), BrokenManifest),
        (_layer("digest", "sha256:" + "0" * 64), FileMissing),
        (_layer("digest", 7), BrokenManifest),
        (_layer("size", -1), BrokenManifest),
        (_layer("size", 3), FileMissing),
        (_layer("mediaType", "x"), NoWeights),
        (lambda content: content.pop("layers"), BrokenManifest),
        (lambda content: content.update(layers="x"), BrokenManifest),
        (lambda content: content.update(layers=["x"]), BrokenManifest),
    ],
)
def test_a_manifest_that_lies_is_refused(
    store: OllamaStore,
    settings: RegistrySettings,
    weights: bytes,
    change: Callable[[dict[str, Any]], object],
    error: type[RegistryError],
) -> None:
    path = store.model("tiny", model=weights)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(error):
        locate("ollama:tiny", settings)


@pytest.mark.parametrize("data", [b"", b"[", b"[" * 100_000, b"null", b"\xff", b" " * (5 << 20)])
def test_a_manifest_that_is_none_is_broken(
    store: OllamaStore, settings: RegistrySettings, weights: bytes, data: bytes
) -> None:
    store.model("tiny", model=weights).write_bytes(data)
    with pytest.raises(BrokenManifest):
        locate("ollama:tiny", settings)


@pytest.mark.parametrize(
    "layers",
    [
        {"params": "[]"},
        {"params": "{"},
        {"params": {"nonsense": 1}},
        {"params": {"top_k": "many"}},
        {"messages": "{}"},
        {"messages": [{"role": "root", "content": "x"}]},
    ],
)
def test_pinned_data_that_is_none_is_broken(
    store: OllamaStore, settings: RegistrySettings, weights: bytes, layers: dict[str, object]
) -> None:
    store.model("tiny", model=weights, **layers)
    with pytest.raises(BrokenManifest):
        locate("ollama:tiny", settings)


def test_weights_that_are_no_gguf_are_named(store: OllamaStore, settings: RegistrySettings) -> None:
    store.model("tiny", model=b"no weights", template=ZEPHYR)
    with pytest.raises(FormatError, match="blobs"):
        locate("ollama:tiny", settings)
