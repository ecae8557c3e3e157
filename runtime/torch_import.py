"""torch for processes that are ours alone: imported without what only compilers of graphs need, in two thirds the time.

As it is imported torch teaches its operations to tell the shapes of results without computing any, one by one in
Python. Here that waits until somebody asks for it, and nobody does who runs models. A program that has this package as
a library imports torch as it likes.
"""

import gc
import sys
from importlib import import_module
from types import ModuleType
from typing import Any, Final

_SHAPES_ALONE: Final = "torch._meta_registrations"


class _Later(ModuleType):
    """Stands for a module until something of it is wanted."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # whoever looks at every module there is, wants none
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def import_torch() -> None:
    """Import it, unless that has been done. What is imported stays, so no garbage is sought in it, now or later."""
    if "torch" in sys.modules:
        return
    sys.modules[_SHAPES_ALONE] = _Later(_SHAPES_ALONE)
    gc.disable()
    try:
        import_module("torch")
    finally:
        gc.freeze()
        gc.enable()
