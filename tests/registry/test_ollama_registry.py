"""Models of Ollama's registry: fetched by their digests, verified, never without their template, no token told."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from unillm.registry.create import create
from unillm.registry.errors import (
    ChecksumMismatch,
    DiskFull,
    HubFailed,
    MalformedAnswer,
    ModelNotFound,
    NoTemplate,
    NotPublic,
    NoWeights,
    OfflineMode,
    SourceUnreachable,
)
from unillm.registry.locate import locate
from unillm.registry.lockfile import lock, read_lock, sync
from unillm.registry.modelfile import parse_modelfile
from unillm.registry.names import Kind, ModelRef
from unillm.registry.pull import plan, pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.registry.updates import find_update
from unillm.tests.registry.conftest import Heard
from unillm.tests.support.fake_ollama_registry import FakeOllamaRegistry, Fault, digest_of
from unillm.tests.support.tiny_models import gguf_file

NAME = "ollama.com/library/tiny:1b"
ZEPHYR = (
    "{{ if .System }}<|system|>\n{{ .System }}</s>\n{{ end }}{{ if .Prompt }}<|user|>\n{{ .Prompt }}</s>\n"
    "{{ end }}<|assistant|>\n"
)
UNKNOWN = "{{ range .Messages }}{{ .Content }}{{ end }}"


@pytest.fixture
def registry() -> Iterator[FakeOllamaRegistry]:
    with FakeOllamaRegistry().running() as registry:
        yield registry


@pytest.fixture
def settings(settings: RegistrySettings, registry: FakeOllamaRegistry) -> RegistrySettings:
    return replace(settings, ollama_registry=registry.endpoint, token="hf_secret")


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    return gguf_file(tmp_path, elements=1 << 20)


@pytest.fixture
def manifest(registry: FakeOllamaRegistry, weights: bytes) -> dict[str, Any]:
    """The manifest of a model, as the registry serves it."""
    served = registry.model(
        "library/tiny:1b",
        ("model", weights),
        ("template", ZEPHYR),
        ("system", "Arr!"),
        ("params", {"stop": ["<end>"], "temperature": 0.5, "num_gpu": 9}),
        ("license", "MIT"),
        ("license", "And another"),
    )
    assert isinstance(served.manifest, dict)
    return served.manifest


def files_in(settings: RegistrySettings, folder: str) -> list[Path]:
    return [path for path in (settings.home / folder).rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ollama.com/library/llama3:8b", "ollama.com/library/llama3:8b"),
        ("https://ollama.com/library/llama3", "ollama.com/library/llama3:latest"),
        ("registry.ollama.ai/library/llama3:8b-instruct-q4_K_M", "ollama.com/library/llama3:8b-instruct-q4_K_M"),
        ("ollama.com/somebody/model:x", "ollama.com/somebody/model:x"),
        ("OLLAMA.com/llama3", "ollama.com/library/llama3:latest"),
    ],
)
def test_names_of_the_registry_are_told_from_repositories(text: str, name: str) -> None:
    ref = ModelRef.parse(text)
    assert (ref.kind, str(ref)) == (Kind.REGISTRY, name)
    assert ModelRef.parse(name) == ref


@pytest.mark.usefixtures("manifest")
def test_a_model_comes_with_what_is_pinned_to_it(settings: RegistrySettings, weights: bytes, heard: Heard) -> None:
    entry = pull(NAME, settings, heard)
    assert entry.name == NAME
    files = locate(NAME, settings)
    assert [path.read_bytes() for path in files.weights] == [weights]
    assert files.template is not None
    assert "<|assistant|>" in files.template
    assert files.system == "Arr!"
    assert files.parameters == {"stop": ["<end>"], "temperature": 0.5}
    assert entry.sound.terms == "MIT\n\nAnd another"
    assert any("num_gpu has no effect here" in text for text in heard.notices())
    assert Shelf(settings).verify(entry) == []


@pytest.mark.usefixtures("manifest")
def test_no_token_is_told_to_anybody(settings: RegistrySettings, registry: FakeOllamaRegistry) -> None:
    pull(NAME, settings)
    assert {one.token for one in registry.asked} == {None}
    assert {one.host.partition(":")[0] for one in registry.asked} == {"127.0.0.1", "localhost"}


def test_a_projector_is_kept_beside_the_weights(
    settings: RegistrySettings, registry: FakeOllamaRegistry, weights: bytes
) -> None:
    registry.model("library/eye:1b", ("model", weights), ("projector", b"GGUF of the eye"))
    files = pull("ollama.com/library/eye:1b", settings).files()
    assert [path.read_bytes() for path in files.weights] == [weights]
    assert files.files["projector.gguf"].read_bytes() == b"GGUF of the eye"


@pytest.mark.usefixtures("manifest")
def test_a_second_pull_fetches_nothing_and_a_removal_frees_all(
    settings: RegistrySettings, registry: FakeOllamaRegistry
) -> None:
    entry = pull(NAME, settings)
    sent = registry.sent
    pull(NAME, settings)
    assert registry.sent == sent
    Shelf(settings).remove(entry)
    assert files_in(settings, "blobs") == []


@pytest.mark.usefixtures("manifest")
def test_what_broke_off_goes_on_where_it_ended(
    settings: RegistrySettings, registry: FakeOllamaRegistry, weights: bytes
) -> None:
    registry.faults[digest_of(weights)] = [Fault("cut", times=2)]
    assert pull(NAME, settings).files().weights[0].read_bytes() == weights
    starts = [int(one.span.strip("bytes=-")) for one in registry.asked if one.span and "/elsewhere/" in one.path]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1]
    assert registry.sent < 1.7 * len(weights)


@pytest.mark.usefixtures("manifest")
def test_a_pull_that_failed_is_resumed_by_the_next(
    settings: RegistrySettings, registry: FakeOllamaRegistry, weights: bytes
) -> None:
    """A44"""
    registry.faults[digest_of(weights)] = [Fault("cut", times=1), Fault("status", times=9)]
    with pytest.raises(SourceUnreachable):
        pull(NAME, settings)
    assert Shelf(settings).entries() == []
    registry.faults.clear()
    assert 0 < plan(NAME, settings).files[0].have < len(weights)
    assert pull(NAME, settings).files().weights[0].read_bytes() == weights


@pytest.mark.usefixtures("manifest")
@pytest.mark.parametrize("times", [1, 9])
def test_wrong_bytes_are_removed_and_refused(
    settings: RegistrySettings, registry: FakeOllamaRegistry, weights: bytes, times: int
) -> None:
    """A44"""
    registry.faults[digest_of(weights)] = [Fault("flip", times=times)]
    if times == 1:
        assert pull(NAME, settings).files().weights[0].read_bytes() == weights
        return
    with pytest.raises(ChecksumMismatch, match=r"model\.gguf"):
        pull(NAME, settings)
    assert files_in(settings, "blobs") + files_in(settings, "partial") == []
    assert Shelf(settings).entries() == []


@pytest.mark.usefixtures("manifest")
def test_more_bytes_than_said_are_never_stored(
    settings: RegistrySettings, registry: FakeOllamaRegistry, weights: bytes
) -> None:
    registry.faults[digest_of(weights)] = [Fault("longer", times=9)]
    with pytest.raises(SourceUnreachable, match="more than the"):
        pull(NAME, settings)
    assert all(path.stat().st_size <= len(weights) for path in files_in(settings, "partial"))


@pytest.mark.parametrize(
    "digest",
    ["sha256:../../x", "sha256:", "../../etc/passwd", "sha256-" + "a" * 64, "sha256:" + "A" * 64, "git:" + "a" * 40, 7],
)
def test_a_hostile_digest_is_refused_before_anything_is_stored(
    settings: RegistrySettings, manifest: dict[str, Any], digest: object
) -> None:
    manifest["layers"][0]["digest"] = digest
    with pytest.raises(MalformedAnswer, match="manifest"):
        pull(NAME, settings)
    assert not settings.home.exists()


@pytest.mark.parametrize("size", [-1, "7", None, True, 1.5])
def test_a_size_that_is_none_is_refused(settings: RegistrySettings, manifest: dict[str, Any], size: object) -> None:
    manifest["layers"][0]["size"] = size
    with pytest.raises(MalformedAnswer):
        pull(NAME, settings)


def test_a_text_that_is_too_long_is_refused(settings: RegistrySettings, manifest: dict[str, Any]) -> None:
    manifest["layers"][1]["size"] = 1 << 30
    with pytest.raises(MalformedAnswer, match="size of template"):
        pull(NAME, settings)


def test_a_model_that_no_disk_holds_is_refused(settings: RegistrySettings, manifest: dict[str, Any]) -> None:
    manifest["layers"][0]["size"] = 1 << 60
    with pytest.raises(DiskFull):
        pull(NAME, settings)


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"[]", b"{}", b'{"layers": {}}', b'{"layers": [5]}', b"[" * 100_000]
)
def test_what_is_no_manifest_is_refused(
    settings: RegistrySettings, registry: FakeOllamaRegistry, answer: bytes
) -> None:
    registry.model("library/tiny:1b").manifest = answer
    with pytest.raises(MalformedAnswer):
        pull(NAME, settings)


def test_a_manifest_without_end_is_refused(settings: RegistrySettings, registry: FakeOllamaRegistry) -> None:
    registry.model("library/tiny:1b").manifest = b" " * (5 << 20)
    with pytest.raises(MalformedAnswer, match="more than"):
        pull(NAME, settings)


@pytest.mark.parametrize(
    ("kind", "words"), [("adapter", "has an adapter"), ("tensor", "one file a tensor"), ("draft", "has a draft model")]
)
def test_what_is_not_read_yet_is_refused_by_name(
    settings: RegistrySettings, registry: FakeOllamaRegistry, weights: bytes, kind: str, words: str
) -> None:
    registry.model("library/tiny:1b", ("model", weights), (kind, b"x"))
    with pytest.raises(NoWeights, match=words):
        pull(NAME, settings)


def test_a_layer_that_means_nothing_is_told_of(
    settings: RegistrySettings, registry: FakeOllamaRegistry, weights: bytes, heard: Heard
) -> None:
    registry.model("library/tiny:1b", ("model", weights), ("novelty", b"x"))
    pull(NAME, settings, heard)
    assert any("'novelty' means nothing here" in text for text in heard.notices())


def test_a_model_without_weights_is_refused(settings: RegistrySettings, registry: FakeOllamaRegistry) -> None:
    registry.model("library/tiny:1b", ("system", "Arr!"))
    with pytest.raises(NoWeights, match="names no weights"):
        pull(NAME, settings)


def test_a_template_that_is_not_known_is_refused_and_the_users_own_stands_in(
    settings: RegistrySettings, registry: FakeOllamaRegistry, weights: bytes
) -> None:
    registry.model("library/tiny:1b", ("model", weights), ("template", UNKNOWN))
    with pytest.raises(NoTemplate):
        pull(NAME, settings)
    assert Shelf(settings).entries() == []
    sent = registry.sent
    recipe = parse_modelfile(Path("Modelfile"), f"FROM {NAME}\nTEMPLATE {{% for m in messages %}}x{{% endfor %}}")
    assert create("mine", recipe, settings).sound.template == "{% for m in messages %}x{% endfor %}"
    assert registry.sent == sent


def test_refusals_are_told_apart(settings: RegistrySettings, registry: FakeOllamaRegistry, weights: bytes) -> None:
    with pytest.raises(ModelNotFound):
        pull(NAME, settings)
    registry.model("library/tiny:1b", ("model", weights)).private = True
    with pytest.raises(NotPublic) as caught:
        pull(NAME, settings)
    assert "ollama:library/tiny:1b" in (caught.value.hint or "")
    with pytest.raises(OfflineMode):
        pull(NAME, replace(settings, offline=True))


@pytest.mark.usefixtures("manifest")
def test_a_registry_that_fails_is_asked_again_and_then_named(
    settings: RegistrySettings, registry: FakeOllamaRegistry, weights: bytes
) -> None:
    registry.faults[digest_of(weights)] = [Fault("status", times=2)]
    pull(NAME, settings)
    Shelf(settings).remove(Shelf(settings).need(ModelRef.parse(NAME)))
    registry.faults[digest_of(weights)] = [Fault("status", times=1, status=410)]
    with pytest.raises(HubFailed, match=r"the registry at .* answers with status 410"):
        pull(NAME, settings)


def test_out_of_reach_says_what_to_do_next(settings: RegistrySettings) -> None:
    away = replace(settings, ollama_registry="http://127.0.0.1:9")
    with pytest.raises(SourceUnreachable) as caught:
        pull("ollama.com/library/llama3:8b", away)
    assert caught.value.hint is not None
    assert "unillm pull llama3:8b" in caught.value.hint
    assert "HF_ENDPOINT" not in caught.value.hint


@pytest.mark.usefixtures("manifest")
def test_a_model_that_is_here_stays_when_the_registry_is_away(settings: RegistrySettings, heard: Heard) -> None:
    pull(NAME, settings)
    assert pull(NAME, replace(settings, ollama_registry="http://127.0.0.1:9"), heard).name == NAME
    assert any("stays as it is" in text for text in heard.notices())


@pytest.mark.usefixtures("manifest")
def test_another_version_is_noticed_and_takes_its_pinned_things_along(
    settings: RegistrySettings, registry: FakeOllamaRegistry, weights: bytes
) -> None:
    entry = pull(NAME, settings)
    assert find_update(entry, settings).newer is None
    registry.model("library/tiny:1b", ("model", weights), ("template", ZEPHYR), ("system", "Ahoy!"))
    assert find_update(entry, settings).newer is not None
    assert pull(NAME, settings).sound.system == "Ahoy!"


@pytest.mark.usefixtures("manifest")
def test_a_lock_restores_the_very_model_elsewhere(
    settings: RegistrySettings, registry: FakeOllamaRegistry, tmp_path: Path
) -> None:
    entry = pull(NAME, settings)
    lock([entry], tmp_path / "unillm.lock")
    registry.models.clear()
    elsewhere = replace(settings, home=tmp_path / "elsewhere")
    (locked,) = read_lock(tmp_path / "unillm.lock", elsewhere)
    again = sync(locked, elsewhere)
    assert again.sound.id == entry.sound.id
    assert again.files().system == "Arr!"
