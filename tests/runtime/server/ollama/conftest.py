"""The server's model under a name of the shelf, and Ollama's own client of it."""

import shutil
from collections.abc import Iterator

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
    environ = {"UNILLM_HOME": str(home), "HF_HOME": str(home / "hf"), "UNILLM_OFFLINE": "1"}
    own = home / "own"
    shutil.copytree(server.folder, own)
    pull(str(own), RegistrySettings.from_environment(environ), name="tiny")
    return "tiny"


@pytest.fixture
def client(server: Serving) -> Iterator[ollama.Client]:
    with ollama.Client(server.url) as client:
        yield client
