"""A step, recorded: the kernel calls that a computation makes, on addresses that stay, to be made again by one call.

While a tape records, every tensor operation passes by it. Views need no repeating: they are addresses. New memory comes
from a workspace that outlives the tape. A kernel's call is noted with its operands. What plain torch computes is noted
too and computed again by torch between the kernels, into the memory of its first result; the fewer of these, the better
(`torch_calls`). What would not come out the same a second time makes the recording fail, by name.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from . import library as c
from .workspace import Workspace

Operation: TypeAlias = Callable[..., Any]

_EMPTY: Final = frozenset(("aten::empty", "aten::new_empty", "aten::empty_like", "aten::empty_strided"))
_SAME: Final = frozenset(("aten::_unsafe_view", "aten::lift_fresh", "aten::detach", "aten::alias"))
_UNSTEADY: Final = (
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
    torch.Tag.nondeterministic_seeded,
)


class NotRecordable(Exception):
    """The computation does something that cannot be made again from its addresses alone."""


@dataclass(slots=True)
class _Kernels:
    """Consecutive kernel calls. The structures point at what `kept` holds."""

    functions: list[Any] = field(default_factory=list)
    kept: list[ctypes.Structure] = field(default_factory=list)
    steps: Any = None  # an array of c.Step
    nanoseconds: Any = None

    def close(self) -> None:
        addresses = [ctypes.cast(function, ctypes.c_void_p).value for function in self.functions]
        steps = [c.Step(run, ctypes.addressof(kept)) for run, kept in zip(addresses, self.kept, strict=True)]
        self.steps = (c.Step * len(steps))(*steps)
        self.nanoseconds = (ctypes.c_int64 * len(steps))()


@dataclass(frozen=True, slots=True)
class _Torch:
    """A call of torch's own, and the results that it made when it was recorded."""

    operation: Any
    operands: Sequence[Any]
    options: Mapping[str, Any]
    results: list[Tensor]

    def again(self) -> None:
        results = tree_leaves(self.operation(*self.operands, **self.options))
        for kept, result in zip(self.results, results, strict=True):
            if kept is not result:
                kept.copy_(result)


class Tape:
    """What one computation did."""

    def __init__(self) -> None:
        self._parts: list[_Kernels | _Torch] = []
        self._open: _Kernels | None = None
        self.torch_calls: list[str] = []

    def add(self, function: Any, operands: ctypes.Structure) -> None:
        """Note a kernel's call."""
        if self._open is None:
            self._open = _Kernels()
            self._parts.append(self._open)
        self._open.functions.append(function)
        self._open.kept.append(operands)

    def add_torch(self, call: _Torch) -> None:
        self._open = None
        self._parts.append(call)
        self.torch_calls.append(call.operation.name())

    def close(self) -> None:
        """Recording is over."""
        for part in self._parts:
            if isinstance(part, _Kernels):
                part.close()

    def replay(self, run: Callable[[Any, Any], None], *, timed: bool = False) -> None:
        """All of it again. `run` makes the kernels' calls: `Kernels.replay`."""
        for part in self._parts:
            if isinstance(part, _Kernels):
                run(part.steps, part.nanoseconds if timed else None)
            else:
                with torch.inference_mode():
                    part.again()

    def take_times(self) -> dict[str, int]:
        """Nanoseconds of the timed replays by kernel, and start again from nothing."""
        times: dict[str, int] = {}
        for part in self._parts:
            if isinstance(part, _Kernels):
                for function, nanoseconds in zip(part.functions, part.nanoseconds, strict=True):
                    times[function.__name__] = times.get(function.__name__, 0) + nanoseconds
                ctypes.memset(part.nanoseconds, 0, ctypes.sizeof(part.nanoseconds))
        return times


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sends what torch is asked for past a tape."""

    def __init__(self, tape: Tape, workspace: Workspace) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tape, self._workspace = tape, workspace

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Else the first operation would load torch's compiler, which takes seconds and is not for what is here."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        name = func.name().split(".")[0]
        if name in _EMPTY:
            return self._workspace.like(func(*args, **{**options, "device": "meta"}))
        if any(tag in func.tags for tag in _UNSTEADY):
            raise NotRecordable(f"{name} depends on more than the operands' addresses")
        if name == "aten::lift_fresh":
            raise NotRecordable("a tensor is made of numbers of the host")
        results = func(*args, **options)
        leaves = [leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor)]
        if not ((func.is_view or name in _SAME) and _is_over(leaves, tree_leaves((args, options)))):
            self._tape.add_torch(_Torch(func, args, options, leaves))
        return results


def _is_over(results: Sequence[Tensor], operands: Sequence[Any]) -> bool:
    """Whether all `results` lie in memory of the operands. What torch calls a view, as `to` and `reshape`, may copy."""
    memory = {one.untyped_storage().data_ptr() for one in operands if isinstance(one, Tensor)}
    return all(one.untyped_storage().data_ptr() in memory for one in results)
