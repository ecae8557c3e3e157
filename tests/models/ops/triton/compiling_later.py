"""Has Triton itself compile kernels of ours beside the work, for a Hopper GPU that is not there.

A process of its own, as `compiling.py` is. Prints, as JSON, how many launches found no kernel, how many operations came
out as plain torch has them meanwhile, how many launches there were afterwards, and what the log has.
"""

import json
import logging
import os
import sys
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from unillm.models.ops import gpu, reference
from unillm.models.ops.compiling import backlog
from unillm.models.ops.operands import Norm

launched = 0


class Absent:
    """A driver that launches nothing."""

    utils = SimpleNamespace(
        get_device_properties=lambda _: {"max_shared_mem": 227 << 10},
        load_binary=lambda *_: (object(), object(), 32, 0, 1024),
    )

    def get_current_target(self) -> Any:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int) -> int:
        return 0

    def launcher_cls(self, _src: Any, _metadata: Any) -> Any:
        return launch


def launch(*_: Any) -> None:
    global launched
    launched += 1


def main() -> None:
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("unillm").addHandler(handler)
    absent: Any = Absent()
    driver.set_active(absent)
    torch.cuda.device = lambda _: nullcontext()  # type: ignore[assignment, misc, return-value]
    assert gpu.runs(torch.device("cpu"))
    before, x, norm = launched, torch.randn(4, 256, dtype=torch.bfloat16), Norm(torch.rand(256), 1e-6)
    same = 0
    for _ in range(3):
        same += torch.equal(gpu.rms_norm(x, norm), reference.rms_norm(x, norm))
        same += torch.equal(gpu.silu_mul(x), reference.silu_mul(x))
    missed = backlog().missed
    assert backlog().wait(120)
    gpu.rms_norm(x, norm)
    gpu.silu_mul(x)
    sys.stdout.write(json.dumps({"missed": missed, "same": same, "launched": launched - before, "told": told}))


if __name__ == "__main__":
    main()
