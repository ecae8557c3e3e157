"""A store of 20 000 models and 100 000 files, in processor seconds: the machine may be busy."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from unillm.registry.prune import prune
from unillm.registry.settings import RegistrySettings
from unillm.registry.shelf import Shelf

MODELS, BLOBS, LEFT = 20_000, 100_000, 1_000
UNILLM = "import sys; from unillm.unillm_cli.app import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("large") / "home"
    (home / "manifests").mkdir(parents=True)
    (home / "blobs").mkdir()
    for number in range(BLOBS + LEFT):
        (home / "blobs" / f"sha256-{number:064x}").write_bytes(b"x")
    for number in range(MODELS):
        (home / "manifests" / f"model{number}=1b.json").write_text(manifest(number))
    return home


def manifest(number: int) -> str:
    """A model of five files, of which two belong to its neighbour too."""
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json", "tokenizer.json"]
    files = [
        {
            "name": name,
            "size": 1,
            "digest": f"sha256:{(number * 5 + place) % BLOBS:064x}",
            "weights": name.endswith(".safetensors"),
            "fetched": True,
            "modified": 0,
        }
        for place, name in enumerate([*names, "LICENSE"])
    ]
    content = {
        "schema": 1,
        "name": f"model{number}:1b",
        "origin": {"kind": "archive", "of": f"org/model{number}@{number:040x}"},
        "format": "safetensors",
        "variant": "safetensors",
        "reason": "its name asks for it",
        "pulled": "2026-01-01T00:00:00+00:00",
        "details": {"architecture": "LlamaForCausalLM", "parameters": 10**9, "context": 4096},
        "parameters": {},
        "files": files,
    }
    return json.dumps(content, indent=1)


def seconds(work: Callable[[], object]) -> float:
    """What `work` takes of a processor, in this process and in those that it waits for."""
    before = os.times()
    work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4])


def command(home: Path, *words: str) -> Callable[[], object]:
    environ = {
        **os.environ,
        "UNILLM_HOME": str(home),
        "HF_HOME": str(home.parent / "hf"),
        "UNILLM_CONFIG": "/none.toml",
    }
    return lambda: subprocess.run([sys.executable, "-c", UNILLM, *words], env=environ, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_large_store_is_listed_in_two_seconds(home: Path) -> None:
    """ST-32, the best of three: the whole command, from its first import to its last line."""
    assert min(seconds(command(home, "models")) for _ in range(3)) < 2


@pytest.mark.slow
def test_one_model_of_a_large_store_is_found_at_once(home: Path) -> None:
    """ST-32: a start reads the one manifest that it needs, and not the 19 999 others."""
    assert min(seconds(command(home, "show", "model7:1b")) for _ in range(3)) < 1


@pytest.mark.slow
def test_a_large_store_is_pruned_in_ten_seconds(home: Path, tmp_path: Path) -> None:
    """ST-32: what nobody needs is found among all that is needed, and goes."""
    settings = RegistrySettings(home=home, aliases=tmp_path / "none.toml", cache_dir=tmp_path / "hub")
    assert seconds(lambda: prune(settings)) < 10
    assert sum(1 for _ in Shelf(settings).store.blobs()) == BLOBS
