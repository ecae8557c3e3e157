"""Kernels are interpreted here: they are checked number by number, on any machine."""

from collections.abc import Iterator
from typing import Any

import pytest

interpreter = pytest.importorskip("triton.runtime.interpreter", reason="triton is not installed: no kernel is checked")


@pytest.fixture(scope="session", autouse=True)
def _borders_that_are_numbers() -> Iterator[None]:
    """Let a loop's borders be tensors of one number: numpy no longer makes a number of these by itself."""
    with pytest.MonkeyPatch.context() as patching:
        patch = interpreter._patch_lang_tensor

        def patched(tensor: Any, scope: Any) -> None:
            patch(tensor, scope)
            scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

        patching.setattr(interpreter, "_patch_lang_tensor", patched)
        yield
