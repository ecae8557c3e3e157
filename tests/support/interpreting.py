"""Triton's kernels interpreted, whatever version of numpy there is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def mended() -> Iterator[None]:
    """While it holds, borders of loops may be tensors of one number, of which numpy no longer makes one by itself; and
    what one comparison of numbers says of a whole tensor is a mask, for which Triton 3.9 takes it to be such a number.
    """
    from triton.runtime import interpreter

    builder = interpreter.InterpreterBuilder
    patch, splat = interpreter._patch_lang_tensor, builder.create_splat

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    def spread(self: Any, shape: Any, one: Any) -> Any:
        all_of_them = splat(self, shape, one)
        all_of_them.data = all_of_them.data.astype(bool) if one.data.dtype == bool else all_of_them.data
        return all_of_them

    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(interpreter, "_patch_lang_tensor", patched)
        patching.setattr(builder, "create_splat", spread)
        yield
