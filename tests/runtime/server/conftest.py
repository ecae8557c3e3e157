"""One server and one engine in this process for all tests of a session, of the same small model."""

from collections.abc import Iterator

import pytest

from unillm.runtime.engine import Engine
from unillm.tests.support.serving import Serving, serving
from unillm.tests.support.talking import talking_model


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("served")
    with serving(talking_model(folder / "talking"), folder / "home", ("--keep-alive", "-1")) as served:
        yield served


@pytest.fixture
def engine(server: Serving) -> Iterator[Engine]:
    """What the server must say, by other means: no process, no socket, no dialect."""
    with Engine.load(server.folder) as here:
        yield here
