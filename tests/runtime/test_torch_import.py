"""torch as our own processes import it: all of it is there, but what nobody asks for."""

import subprocess
import sys
from pathlib import Path

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

# CTRL works out where its tokens stand as it is made, which transformers does without numbers.
LENT = """
import sys
from pathlib import Path
from unillm.runtime.torch_import import import_torch

import_torch()
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo

row = zoo.Row("ctrl", "CTRL", {"n_embd": 64, "dff": 96, "n_layer": 2, "n_head": 4}, model="CTRLLMHeadModel")
files = zoo.save(zoo.reference(row), Path(sys.argv[1]))
assert not hasattr(sys.modules["torch._meta_registrations"], "__file__")
load_model(files, zoo.PLACE)
"""


def test_what_only_compilers_need_comes_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_classes_of_transformers_are_made_with_it(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LENT, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
