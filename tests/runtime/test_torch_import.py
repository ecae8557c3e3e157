"""torch as our own processes import it: all of it is there, but what nobody asks for."""

import subprocess
import sys

LIGHT = """
import gc, sys
from unillm.runtime.torch_import import import_torch

import_torch()
import torch

shapes = sys.modules["torch._meta_registrations"]
assert not hasattr(shapes, "__file__")
assert gc.isenabled()
assert torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).tolist() == [[3.0] * 4] * 2
assert sys.modules["torch._meta_registrations"] is shapes
assert callable(torch._meta_registrations.meta_mm)
assert sys.modules["torch._meta_registrations"] is not shapes
import_torch()
"""


def test_what_only_compilers_need_comes_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
