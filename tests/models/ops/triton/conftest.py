"""Kernels are interpreted here: they are checked number by number, on any machine."""

from collections.abc import Iterator

import pytest

from unillm.tests.support.interpreting import mended

pytest.importorskip("triton", reason="triton is not installed: no kernel is checked")


@pytest.fixture(scope="session", autouse=True)
def _interpreted() -> Iterator[None]:
    with mended():
        yield
