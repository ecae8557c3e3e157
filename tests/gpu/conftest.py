"""Kernels are waited for: what is compared is theirs, not what serves while they are compiled."""

from collections.abc import Iterator

import pytest

from unillm.models.ops.compiling import at_once


@pytest.fixture(autouse=True)
def _kernels_at_once() -> Iterator[None]:
    with at_once():
        yield
