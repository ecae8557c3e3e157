"""Triton's kernels interpreted, whatever version of numpy there is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def borders_that_are_numbers() -> Iterator[None]:
    """While it holds, borders of loops may be tensors of one number, of which numpy no longer makes one by itself."""
    from triton.runtime import interpreter

    with pytest.MonkeyPatch.context() as patching:
        patch = interpreter._patch_lang_tensor

        def patched(tensor: Any, scope: Any) -> None:
            patch(tensor, scope)
            scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

        patching.setattr(interpreter, "_patch_lang_tensor", patched)
        yield
