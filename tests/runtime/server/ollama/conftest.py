"""The server's model under a name of the shelf, and Ollama's own client of it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest

from unillm.registry.pull import pull
from unillm.registry.settings import RegistrySettings
from unillm.tests.support.serving import Serving

GREEDY = {"temperature": 0, "seed": 123, "num_predict": 12}


@pytest.fixture(scope="session")
def shelved(server: Serving) -> str:
    """The name under which the served model is installed too."""
    home = server.log.parent
    own = shutil.copytree(server.folder, home / "own")
    pull(str(own), _settings(home), name="tiny")
    return "tiny"


@pytest.fixture(scope="session")
def merging(server: Serving) -> str:
    """The same model with a tokenizer that merges two letters: one that merges nothing cannot be written as GGUF."""
    home = server.log.parent
    folder = shutil.copytree(server.folder, home / "merging")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["qz"] = vocabulary.pop("\u0100")  # a byte that no text has
    tokenizer["model"]["merges"] = [["q", "z"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    pull(str(folder), _settings(home), name="merging")
    return "merging"


def _settings(home: Path) -> RegistrySettings:
    environ = {"UNILLM_HOME": str(home), "HF_HOME": str(home / "hf"), "UNILLM_OFFLINE": "1"}
    return RegistrySettings.from_environment(environ)


@pytest.fixture
def client(server: Serving) -> Iterator[ollama.Client]:
    with ollama.Client(server.url) as client:
        yield client
