"""The gated feed-forward layer of llama-like models."""

from typing import Self

from torch import Tensor, nn

from .. import ops
from ..ops.cpu.kernels import Kernels
from .checkpoint import Checkpoint
from .linear import Linear
from .split import Split


class GatedMLP(nn.Module):
    """down(silu(gate(x)) * up(x)); ranks divide the intermediate numbers."""

    def __init__(self, gate_up: Linear, down: Linear, kernels: Kernels | None = None) -> None:
        super().__init__()
        self.kernels = kernels
        self.gate_up, self.down = gate_up, down

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        out: Tensor = self.down(ops.silu_mul(self.gate_up(x), self.kernels), onto)
        return out

    @classmethod
    def load(cls, place: Checkpoint, hidden: int, intermediate: int, bias: bool | None = False) -> Self:
        gate_up, down = (place / "gate_proj", place / "up_proj"), place / "down_proj"
        # The rows of gate and up are the columns of down, which only come in whole blocks where they are packed.
        unit = (down / "weight").grain()
        return cls(
            Linear.load(gate_up, hidden, (intermediate, intermediate), Split("rows", unit), bias),
            Linear.load((down,), intermediate, (hidden,), Split("columns", unit), bias),
            place.place.kernels,
        )
