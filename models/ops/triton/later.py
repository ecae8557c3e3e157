"""Kernels that nobody waits for: a launch whose kernel is not compiled raises `NotCompiled`, and has it compiled.

Triton looks for a compiled kernel among those of a function, and where there is none compiles it while the launch
waits. This steps in between, by the one method of Triton's that does both; where a version has another one there, its
kernels are waited for.
"""

import inspect
from typing import Any, Final

import torch
from triton.runtime.jit import JITFunction

from ..compiling import backlog, waits

# What a batch tells lies side by side in one copy, at other addresses in every batch.
_ANYWHERE: Final = (
    *("starts", "lengths", "table", "slots", "sources", "targets"),
    *("temperature", "top_p", "min_p", "top_k", "seeds", "places"),
)
_EXPECTED: Final = ("self", "key", "signature", "device", "constexprs", "options", "attrs", "warmup")


class LaterFunction(JITFunction[Any]):  # type: ignore[misc]
    """What `triton.jit` makes, but for who waits. A product and a sum are one operation, in every version."""

    def run(self, *operands: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        return super().run(*operands, grid=grid, warmup=warmup, **{"enable_fp_fusion": True, **options})

    def _do_compile(
        self, key: Any, signature: Any, device: int, constexprs: Any, options: Any, attrs: Any, warmup: bool
    ) -> Any:
        if warmup or waits():
            return super()._do_compile(key, signature, device, constexprs, options, attrs, warmup)

        def compile_it() -> None:
            kernels, _, target, *_ = self.device_caches[device]
            kernel = self.compile(
                self.ASTSource(self, signature, constexprs, attrs), target=target, options=options.__dict__
            )
            with torch.cuda.device(device):
                _ = kernel.run  # loads it, and makes its launcher: not before that may others see it
            kernels[key] = kernel

        raise backlog().miss((self, device, key), self.fn.__name__, compile_it)


def compiled_later(function: Any) -> Any:
    """What `triton.jit` made of a kernel, so that launches do not wait for it. Interpreted ones are there at once.

    Triton makes a kernel of its own where a number is 1 or a multiple of 16: `do_not_specialize` those that differ from
    batch to batch. So it does where a tensor's address is a multiple of 16, but here not for what a batch tells.
    """
    if type(function) is not JITFunction or tuple(inspect.signature(JITFunction._do_compile).parameters) != _EXPECTED:
        return function
    return LaterFunction(
        function.fn,
        do_not_specialize=function.do_not_specialize,
        do_not_specialize_on_alignment=(*(function.do_not_specialize_on_alignment or ()), *_ANYWHERE),
        debug=function.debug,
        noinline=function.noinline,
    )
