"""`unillm models, pull, show, rm, cp, verify`: what they print, and how they end."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unillm.registry.store import Store
from unillm.tests.support.fake_hub import COMMIT, FakeHub, Repo, sha256
from unillm.tests.support.ollama_store import OllamaStore
from unillm.tests.support.tiny_models import gguf_file, original
from unillm.tests.unillm_cli.doors import Ran, run

Unillm = Callable[..., Ran]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub().running() as hub:
        hub.repos["org/repo"] = Repo(original())
        yield hub


@pytest.fixture
def environ(tmp_path: Path, hub: FakeHub) -> dict[str, str]:
    return {
        "UNILLM_HOME": str(tmp_path / "home"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.endpoint,
        "PATH": str(tmp_path),
    }


@pytest.fixture
def unillm(environ: dict[str, str]) -> Unillm:
    """The command line, in an empty home and with a hub of its own."""

    def called(*args: str, terminal: bool = False, **more: str) -> Ran:
        return run(*args, terminal=terminal, environ=environ | more)

    return called


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "finetune"
    folder.mkdir()
    for name, data in original().items():
        (folder / name).write_bytes(data)
    return folder


def data(ran: Ran) -> dict[str, list[dict[str, object]]]:
    assert ran.code == 0, ran.err
    found: dict[str, list[dict[str, object]]] = json.loads(ran.out)
    return found


# pull


def test_a_pull_says_everything_on_standard_error(unillm: Unillm, hub: FakeHub) -> None:
    ran = unillm("pull", "org/repo")
    assert (ran.code, ran.out) == (0, "")
    assert f"org/repo: from the hub at {hub.endpoint}: org/repo@{COMMIT}" in ran.err
    assert "model.safetensors: 100 %" in ran.err
    assert "org/repo is here" in ran.err
    assert "\x1b" not in ran.err


def test_a_quiet_pull_says_nothing(unillm: Unillm) -> None:
    assert unillm("pull", "org/repo", "--quiet") == (0, "", "")


def test_a_pull_can_answer_in_json(unillm: Unillm) -> None:
    (model,) = data(unillm("pull", "org/repo", "--json"))["models"]
    assert model["name"] == "org/repo"
    assert model["source"] == {
        "kind": "hub",
        "repo": "org/repo",
        "commit": COMMIT,
        "revision": None,
        "endpoint": model["source"]["endpoint"],  # type: ignore[index]
        "cache": model["source"]["cache"],  # type: ignore[index]
    }


def test_several_models_come_in_one_command(unillm: Unillm, hub: FakeHub, folder: Path) -> None:
    hub.repos["org/other"] = Repo(original(fill=7))
    assert unillm("pull", "org/repo", "org/other", f"{folder}/").code == 0
    listed = data(unillm("models", "--json"))["models"]
    assert [one["name"] for one in listed] == ["finetune:latest", "org/other", "org/repo"]


def test_what_came_before_a_failure_stays(unillm: Unillm) -> None:
    ran = unillm("pull", "org/repo", "org/none", "--json")
    assert ran.code == 4
    assert [one["name"] for one in json.loads(ran.out)["models"]] == ["org/repo"]


def test_a_dry_run_says_which_variant_and_why_and_fetches_nothing(unillm: Unillm, hub: FakeHub, tmp_path: Path) -> None:
    hub.repos["Qwen/Qwen3-0.6B"] = Repo(original())
    ran = unillm("pull", "qwen3:0.6b", "--dry-run")
    assert ran.code == 0
    assert f"qwen3:0.6b: safetensors from the hub at {hub.endpoint}: Qwen/Qwen3-0.6B@{COMMIT}" in ran.out
    assert "because the original weights (1.5 GB) fit in the" in ran.out
    assert re.search(r"model\.safetensors +4\.2 kB +no", ran.out)
    assert re.search(r"of 4\.\d kB to fetch; .* free at ", ran.out)
    assert not (tmp_path / "home").exists()
    assert not (tmp_path / "hf").exists()
    assert data(unillm("pull", "qwen3:0.6b", "--dry-run", "--json"))["models"][0]["variant"] == "safetensors"


def test_a_folder_gets_a_name_and_is_not_copied(unillm: Unillm, folder: Path) -> None:
    assert unillm("pull", str(folder), "--name", "mine:v1").code == 0
    shown = unillm("show", "mine:v1").out
    assert str(folder / "model.safetensors") in shown
    assert unillm("pull", "org/repo", "org/repo", "--name", "x").code == 2


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("./no-such-folder", 3, "there is no such folder"),
        ("a b", 2, "is not the name of a model"),
        ("-x", 2, "No such option"),
        ("tinylama", 3, "did you mean tinyllama?"),
        ("org/private", 4, "is private or does not exist"),
        ("org/gated", 4, "is gated"),
        ("org/empty", 3, "holds no weights"),
        ("org/repo@v9", 3, "has no revision 'v9'"),
        ("hf.co/org/repo:Q4_K_M", 3, "has no Q4_K_M"),
    ],
)
def test_a_failure_is_a_sentence_and_a_code(unillm: Unillm, hub: FakeHub, model: str, code: int, words: str) -> None:
    hub.repos["org/gated"] = Repo(original(), gated="auto")
    hub.repos["org/private"] = Repo(original(), private=True)
    hub.repos["org/empty"] = Repo({"README.md": b"#"})
    ran = unillm("pull", model)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert "Traceback" not in ran.err


def test_a_hub_out_of_reach_says_what_can_be_had(unillm: Unillm) -> None:
    ran = unillm("pull", "tinyllama", HF_ENDPOINT="http://127.0.0.1:9")
    assert ran.code == 5
    assert "unillm pull smollm2:135m" in ran.err
    assert "in offline mode" in unillm("pull", "tinyllama", "--offline").err
    assert "in offline mode" in unillm("pull", "tinyllama", HF_HUB_OFFLINE="1").err


def test_a_pull_heeds_its_limit_and_refuses_nonsense(unillm: Unillm, hub: FakeHub) -> None:
    hub.repos["org/repo"] = Repo(original(size=1 << 19))
    started = time.monotonic()
    assert unillm("pull", "org/repo", "--limit-rate", "1M").code == 0
    assert time.monotonic() - started >= 0.5
    ran = unillm("pull", "org/repo", "--limit-rate", "fast")
    assert ran.code == 2
    assert "--limit-rate: 'fast' is not an amount" in ran.err


# models


def test_models_are_a_table(unillm: Unillm) -> None:
    unillm("pull", "org/repo")
    head, row = unillm("models").out.splitlines()
    assert head.split() == ["NAME", "ID", "SIZE", "MODIFIED"]
    assert re.fullmatch(r"org/repo +[0-9a-f]{12} +4\.\d kB +just now", row)


@pytest.mark.parametrize("word", ["models", "list", "ls"])
def test_models_have_three_words(unillm: Unillm, word: str) -> None:
    unillm("pull", "org/repo")
    assert "org/repo" in unillm(word).out
    assert "org/repo" in unillm(word, "org").out
    assert "org/repo" not in unillm(word, "qwen").out


def test_models_in_json_speak_as_ollama_does(unillm: Unillm) -> None:
    unillm("pull", "org/repo")
    (model,) = data(unillm("models", "--json"))["models"]
    assert {"name", "size", "digest", "modified_at", "details"} <= set(model)
    assert model["details"] == {
        "format": "safetensors",
        "family": "LlamaForCausalLM",
        "parameter_size": "1.02K",
        "quantization_level": "F32",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(model["modified_at"]))


def test_no_models_are_an_empty_table_and_a_hint(unillm: Unillm) -> None:
    ran = unillm("models")
    assert (ran.code, ran.out.split()) == (0, ["NAME", "ID", "SIZE", "MODIFIED"])
    assert "unillm pull smollm2:135m" in ran.err
    assert data(unillm("models", "--json")) == {"models": []}


def test_a_broken_model_is_shown_among_the_others(unillm: Unillm, tmp_path: Path) -> None:
    """SH-10"""
    unillm("pull", "org/repo")
    for name in (sound := ["org/repo", "two:1b", "three:1b", "four:1b"])[1:]:
        unillm("cp", "org/repo", name)
    (tmp_path / "home" / "manifests" / "bad=1b.json").write_text("{")
    ran = unillm("models")
    assert ran.code == 0
    assert re.search(r"bad:1b +- +- +broken", ran.out)
    assert len(re.findall(r" kB +just now", ran.out)) == 4
    assert "warning: bad:1b is broken" in ran.err
    assert [one["name"] for one in data(unillm("models", "--json"))["models"]] == sorted(["bad:1b", *sound])
    assert [unillm("show", name).code for name in sound] == [0] * 4
    assert unillm("show", "bad:1b").code == 1
    assert unillm("rm", "bad:1b").code == 0


# show


def test_show_tells_what_a_model_is_and_why(unillm: Unillm, hub: FakeHub, tmp_path: Path) -> None:
    hub.repos["org/tiny-GGUF"] = Repo({"tiny-Q8_0.gguf": gguf_file(tmp_path), "LICENSE": b"MIT"}, licence="mit")
    unillm("pull", "hf.co/org/tiny-GGUF:q8_0")
    shown = unillm("show", "HF.co/org/tiny-GGUF:Q8_0").out
    for words in (
        "architecture  llama",
        "parameters    8 (8)",
        "context       2,048 tokens",
        "quantisation  Q8_0",
        "licence       mit",
        f"source        org/tiny-GGUF@{COMMIT}",
        "variant       Q8_0: its name asks for Q8_0",
        f"sha256:{sha256(hub.repos['org/tiny-GGUF'].files['tiny-Q8_0.gguf'])}",
    ):
        assert words in shown
    told = json.loads(unillm("show", "hf.co/org/tiny-GGUF:q8_0", "--json").out)
    assert {one["name"] for one in told["files"]} == {"tiny-Q8_0.gguf", "LICENSE"}
    assert (told["context_length"], told["license"]) == (2048, "mit")


def test_show_finds_the_chat_template(unillm: Unillm, hub: FakeHub) -> None:
    hub.repos["org/repo"].files["chat_template.jinja"] = b"{{ messages }}\n"
    unillm("pull", "org/repo")
    assert unillm("show", "org/repo", "--template").out == "{{ messages }}\n"
    assert "15 letters; --template prints it" in unillm("show", "org/repo").out


def test_show_of_what_is_not_here_tells_what_this_machine_would_get(unillm: Unillm, hub: FakeHub) -> None:
    asked = len(hub.asked)
    shown = unillm("show", "qwen3:0.6b").out
    assert shown.startswith("qwen3:0.6b (not on this machine)")
    assert "the original weights (1.5 GB) fit in the" in shown
    assert "unillm pull qwen3:0.6b" in shown
    told = json.loads(unillm("show", "smollm2:135m-q8_0", "--json").out)
    assert (told["variant"], told["from"]) == ("Q8_0", "bartowski/SmolLM2-135M-Instruct-GGUF")
    assert len(hub.asked) == asked


def test_show_reads_a_path(unillm: Unillm, folder: Path) -> None:
    shown = unillm("show", str(folder)).out
    assert "architecture  LlamaForCausalLM" in shown
    assert str(folder / "config.json") in shown


def test_show_of_an_unknown_name_suggests(unillm: Unillm) -> None:
    ran = unillm("show", "tinylama")
    assert (ran.code, ran.out) == (3, "")
    assert "did you mean tinyllama?" in ran.err


def test_hostile_words_are_spelled_out(unillm: Unillm, hub: FakeHub) -> None:
    """SH-02, in a licence"""
    hub.repos["org/repo"].licence = "mit\x1b[31m\u202e"
    unillm("pull", "org/repo")
    for ran in (unillm("show", "org/repo", terminal=True), unillm("show", "org/repo", "--json")):
        assert not re.search("[\x1b\u202e]", ran.out)
        assert "\\u001b[31m\\u202e" in ran.out


# cp, rm, verify


def test_a_copy_costs_nothing_and_a_removal_frees_the_rest(unillm: Unillm, hub: FakeHub) -> None:
    unillm("pull", "org/repo")
    assert unillm("cp", "org/repo", "mine").out == "copied org/repo to mine:latest\n"
    assert unillm("cp", "org/repo", "mine").code == 1
    assert "removed org/repo: 0 bytes freed; 4.3 kB stay" in unillm("rm", "org/repo").out
    assert unillm("verify", "mine").out.startswith("mine:latest: 5 files, 4.3 kB: all right")
    (removed,) = data(unillm("rm", "mine", "--json"))["models"]
    files = hub.repos["org/repo"].files
    whole = sum(len(files[name]) for name in files if not name.endswith((".py", ".md", ".bin")))
    assert removed == {"name": "mine:latest", "freed": whole, "left": 0}


def test_nothing_is_removed_where_one_name_is_wrong(unillm: Unillm) -> None:
    unillm("pull", "org/repo")
    ran = unillm("rm", "org/repo", "nothing")
    assert (ran.code, ran.out) == (3, "")
    assert "org/repo" in unillm("models").out


def test_a_removal_can_be_foretold(unillm: Unillm) -> None:
    unillm("pull", "org/repo")
    assert unillm("rm", "org/repo", "--dry-run").out == "org/repo would be removed: 4.3 kB would be freed\n"
    (foretold,) = data(unillm("rm", "org/repo", "--dry-run", "--json"))["models"]
    assert data(unillm("rm", "org/repo", "--json"))["models"] == [foretold]


def test_pruning_names_what_goes(unillm: Unillm, tmp_path: Path) -> None:
    unillm("pull", "org/repo")
    assert unillm("prune").out == "0 files, 0 bytes freed\n"
    blob = tmp_path / "home" / "blobs" / f"sha256-{sha256(b'left')}"
    blob.parent.mkdir()
    blob.write_bytes(b"left")
    assert unillm("prune", "--dry-run").out == f"{blob}\n1 file, 4 bytes would be freed\n"
    assert json.loads(unillm("prune", "--json").out) == {"files": [str(blob)], "freed": 4, "dry_run": False}
    assert not blob.exists()
    with Store(tmp_path / "home").working():
        ran = unillm("prune")
    assert (ran.code, ran.out) == (7, "")


@pytest.mark.parametrize(
    "args", [("cp", "org/repo", "../x"), ("cp", "org/repo", "/abs"), ("rm", "../../x"), ("rm", "/")]
)
def test_a_path_is_no_name(unillm: Unillm, args: tuple[str, ...]) -> None:
    unillm("pull", "org/repo")
    ran = unillm(*args)
    assert ran.code in (2, 3)
    assert "Traceback" not in ran.err


def test_verify_names_what_is_wrong(unillm: Unillm, tmp_path: Path) -> None:
    unillm("pull", "org/repo")
    (blob,) = (path for path in (tmp_path / "hf").rglob("blobs/*") if path.stat().st_size > 4096)
    blob.write_bytes(bytes(blob.stat().st_size))
    ran = unillm("verify")
    assert ran.code == 1
    assert re.search(r"org/repo: .*model\.safetensors should be sha256:[0-9a-f]{64}, and is sha256:", ran.out)
    assert "unillm pull org/repo" in ran.err
    (model,) = json.loads(unillm("verify", "--json").out)["models"]
    assert (model["ok"], model["faults"][0]["file"]) == (False, "model.safetensors")
    assert unillm("pull", "org/repo").code == 0
    assert unillm("verify").code == 0


def test_verify_tells_of_a_broken_manifest(unillm: Unillm, tmp_path: Path) -> None:
    unillm("pull", "org/repo")
    (tmp_path / "home" / "manifests" / "bad=1b.json").write_text("{")
    ran = unillm("verify")
    assert ran.code == 1
    assert "not as they should be: bad:1b" in ran.err


# The price of asking


@pytest.mark.parametrize("args", [("models",), ("show", "qwen3:0.6b"), ("ls", "--json"), ("pull", "--help")])
def test_no_torch_and_no_hub_library_are_imported(environ: dict[str, str], args: tuple[str, ...]) -> None:
    script = (
        "import sys; from unillm.unillm_cli.app import main; main(sys.argv[1:]);"
        "print(*({'torch', 'huggingface_hub', 'transformers', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, *args], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stderr.split()[-1:] in ([], ["smollm2:135m"])


@pytest.mark.slow
@pytest.mark.parametrize("args", [("--help",), ("models",), ("show", "qwen3:0.6b")])
def test_small_commands_answer_in_a_third_of_a_second(environ: dict[str, str], args: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", "import sys; from unillm.unillm_cli.app import main; sys.exit(main())", *args]
    times = []
    for _ in range(5):
        before = os.times()
        subprocess.run(command, env=environ, capture_output=True, check=True)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(times) < 0.3, "processor seconds, for the machine may be busy"


# create


def test_a_model_of_ones_own(unillm: Unillm, tmp_path: Path) -> None:
    recipe = tmp_path / "Modelfile"
    recipe.write_text('FROM org/repo\nSYSTEM """Arr!"""\nPARAMETER stop x\nMESSAGE user Hi\nPARAMETER num_gpu 1')
    ran = unillm("create", "pirate", "-f", str(recipe))
    assert (ran.code, ran.out) == (0, "")
    assert "pirate:latest is here" in ran.err
    assert "num_gpu has no effect" in ran.err
    told = json.loads(unillm("show", "pirate", "--json").out)
    assert (told["system"], told["parameters"]) == ("Arr!", {"stop": ["x"]})
    assert told["messages"] == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("PARAMETER temperature -1", "line 2: temperature is -1.0; it must be a number, 0 or more"),
        ("TEMPLATE {% if %}", "line 2: "),
        ("ADAPTER x", "line 2: adapters"),
    ],
)
def test_a_bad_modelfile_is_named_with_its_line(unillm: Unillm, tmp_path: Path, text: str, words: str) -> None:
    recipe = tmp_path / "Modelfile"
    recipe.write_text(f"FROM org/repo\n{text}\n")
    ran = unillm("create", "mine", "-f", str(recipe))
    assert (ran.code, ran.out) == (2, "")
    assert f"{recipe}: {words}" in ran.err
    assert "mine" not in unillm("models").out


# export, import


def test_a_model_travels_in_a_file(unillm: Unillm, tmp_path: Path) -> None:
    unillm("pull", "org/repo")
    archive = tmp_path / "model.tar"
    assert re.fullmatch(
        rf"exported org/repo to {archive}: \d+\.\d kB\n", unillm("export", "org/repo", str(archive)).out
    )
    assert unillm("export", "org/repo", str(archive)).code == 1
    unillm("rm", "org/repo")
    ran = unillm("import", str(archive))
    assert (ran.code, ran.out) == (0, "")
    assert json.loads(unillm("show", "org/repo", "--json").out)["source"]["kind"] == "archive"
    assert unillm("verify").code == 0
    assert unillm("import", str(archive), "--name", "mine", "--json").code == 0
    archive.write_bytes(b"nothing")
    assert "is not a whole archive" in unillm("import", str(archive)).err


# lock, sync


def test_models_are_locked_and_restored(unillm: Unillm, folder: Path, tmp_path: Path) -> None:
    unillm("pull", "org/repo", f"{folder}/")
    file = str(tmp_path / "models.lock")
    ran = unillm("lock", "-f", file)
    assert ran.out == f"1 model in {file}\n"
    assert "finetune:latest is left out" in ran.err
    assert unillm("lock", "finetune", "-f", file).code == 1
    there = str(tmp_path / "else")
    (model,) = data(unillm("sync", "-f", file, "--json", UNILLM_HOME=there, HF_HOME=there))["models"]
    assert model["digest"] == json.loads(unillm("show", "org/repo", "--json").out)["digest"]
    assert unillm("sync", "-f", str(tmp_path / "none")).code == 2


# Ollama's store


def test_models_of_ollama_are_listed_and_shown(unillm: Unillm, tmp_path: Path) -> None:
    store = OllamaStore(tmp_path / "ollama")
    store.model("tiny", "1b", model=gguf_file(tmp_path), system="Arr!", params={"seed": 7})
    there = {"OLLAMA_MODELS": str(store.root)}
    assert "ollama:tiny:1b" in unillm("models", "--ollama", **there).out
    assert data(unillm("models", "--ollama", "--json", **there))["models"][0]["name"] == "ollama:tiny:1b"
    assert data(unillm("models", "--json", **there))["models"] == []
    told = json.loads(unillm("show", "ollama:tiny:1b", "--json", **there).out)
    assert (told["system"], told["parameters"], told["details"]["family"]) == ("Arr!", {"seed": 7}, "llama")
    assert unillm("rm", "ollama:tiny:1b", **there).code == 2
    assert unillm("show", "ollama:other", **there).code == 3


# Updates


def test_what_the_hub_has_newer_is_listed_and_pulled(unillm: Unillm, hub: FakeHub, folder: Path) -> None:
    hub.repos["org/same"] = Repo(original(fill=2), commit="c" * 40)
    unillm("pull", "org/repo", "org/same", f"{folder}/")
    assert data(unillm("models", "--outdated", "--json"))["models"] == []
    hub.repos["org/repo"] = Repo(original(fill=9), commit="d" * 40)
    (model,) = data(unillm("models", "--outdated", "--json"))["models"]
    assert (model["name"], model["newer"]) == ("org/repo", "d" * 40)
    assert re.search(r"org/repo +[0-9a-f]{12} +d{12}\n", unillm("models", "--outdated").out)
    pulled = data(unillm("pull", "--all", "--json"))["models"]
    assert [one["name"] for one in pulled] == ["org/repo", "org/same"]
    assert data(unillm("models", "--outdated", "--json"))["models"] == []
    assert "no source has a newer version" in unillm("models", "--outdated").err
    assert unillm("verify").code == 0


def test_a_model_of_this_machine_alone_is_not_fetched_and_not_called_absent(unillm: Unillm, folder: Path) -> None:
    unillm("pull", f"{folder}/", "--name", "mine")
    assert "no model here comes from" in unillm("pull", "--all").err
    ran = unillm("pull", "mine")
    assert (ran.code, ran.out) == (1, "")
    assert "error: mine:latest is here, and there is no place to fetch it from" in ran.err


def test_a_modelfile_that_is_not_there_is_called_so(unillm: Unillm, tmp_path: Path) -> None:
    ran = unillm("create", "mine", "-f", str(tmp_path / "Modelfile"))
    assert ran.code == 2
    assert "there is no such file" in ran.err


def test_a_source_that_does_not_say_is_told_of(unillm: Unillm, hub: FakeHub) -> None:
    unillm("pull", "org/repo")
    del hub.repos["org/repo"]
    ran = unillm("models", "--outdated")
    assert (ran.code, ran.out.split()) == (0, ["NAME", "ID", "NEWER"])
    assert "warning: org/repo: " in ran.err


@pytest.mark.parametrize("args", [(), ("--all", "org/repo"), ("--all", "--name", "x")])
def test_a_pull_is_of_named_models_or_of_all(unillm: Unillm, args: tuple[str, ...]) -> None:
    assert unillm("pull", *args).code == 2
