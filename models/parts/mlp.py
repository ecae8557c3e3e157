"""The gated feed-forward layer of llama-like models."""

from typing import Self

from torch import Tensor, nn

from .. import ops
from .checkpoint import Checkpoint
from .linear import Linear
from .split import Split, blocks


class GatedMLP(nn.Module):
    """down(silu(gate(x)) * up(x)); ranks divide the intermediate numbers."""

    def __init__(self, gate_up: Linear, down: Linear) -> None:
        super().__init__()
        self.gate_up, self.down = gate_up, down

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(ops.silu_mul(self.gate_up(x)))
        return out

    @classmethod
    def load(cls, place: Checkpoint, hidden: int, intermediate: int, bias: bool | None = False) -> Self:
        unit = blocks(intermediate, place.place.world)
        gate_up = (place / "gate_proj", place / "up_proj")
        return cls(
            Linear.load(gate_up, hidden, (intermediate, intermediate), Split("rows", unit), bias),
            Linear.load((place / "down_proj",), intermediate, (hidden,), Split("columns", unit), bias),
        )
