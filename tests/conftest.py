"""The server of a session: one for all tests that ask one and leave it as it was."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from unillm.tests.support.serving import Serving, serving

os.environ["TRITON_INTERPRET"] = "1"  # before anything imports triton: its kernels are checked without a GPU

settings.register_profile("unhurried", deadline=None)  # seconds are no property: machines stand still at times
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    from unillm.tests.support.talking import talking_model  # late: most tests need neither it nor what it imports

    folder = tmp_path_factory.mktemp("served")
    with serving(talking_model(folder / "talking"), folder / "home", ("--keep-alive", "-1")) as served:
        yield served
