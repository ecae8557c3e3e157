"""An engine in this process, of the model that the session's server has."""

from collections.abc import Iterator

import pytest

from unillm.runtime.engine import Engine
from unillm.tests.support.serving import Serving


@pytest.fixture
def engine(server: Serving) -> Iterator[Engine]:
    """What the server must say, by other means: no process, no socket, no dialect."""
    with Engine.load(server.folder) as here:
        yield here
