"""Feed-forward layers: gated, as llama-like models have them, and plain."""

from typing import Self

from torch import Tensor, nn

from .. import ops
from ..ops.cpu.kernels import Kernels
from .activation import ACTIVATIONS, GELU_BY_TANH
from .checkpoint import Checkpoint
from .linear import Linear
from .split import Split


class GatedMLP(nn.Module):
    """down(activation(gate(x)) * up(x)); ranks divide the intermediate numbers."""

    def __init__(self, gate_up: Linear, down: Linear, kernels: Kernels | None = None, activation: str = "silu") -> None:
        super().__init__()
        self.kernels = kernels
        self.gate_up, self.down, self.activation = gate_up, down, activation

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        out: Tensor = self.down(self._between(x), onto)
        return out

    def _between(self, x: Tensor) -> Tensor:
        if self.activation == "silu":
            product: Tensor = self.gate_up.gated(x)
            return product
        gate_up: Tensor = self.gate_up(x)
        if self.activation in GELU_BY_TANH:
            return ops.gelu_mul(gate_up, self.kernels)
        gate, up = gate_up.chunk(2, -1)
        return ACTIVATIONS[self.activation](gate) * up

    @classmethod
    def load(
        cls,
        place: Checkpoint,
        hidden: int,
        intermediate: int,
        bias: bool | None = False,
        activation: str = "silu",
        *,
        stacked: bool = False,
    ) -> Self:
        """From matrices of gate and up, or `stacked` in one `gate_up_proj`; in a GGUF they may be either way."""
        down, sizes = place / "down_proj", (intermediate, intermediate)
        # The rows of gate and up are the columns of down, which only come in whole blocks where they are packed.
        split = Split("rows", (down / "weight").grain())
        both = place / "gate_up_proj"
        if stacked and not (place.in_gguf and (place / "gate_proj" / "weight").exists()):
            gate_up = Linear.load_stacked(both, hidden, sizes, split, bias)
        else:
            gate_up = Linear.load((place / "gate_proj", place / "up_proj"), hidden, sizes, split, bias)
        out = Linear.load((down,), intermediate, (hidden,), Split("columns", split.unit), bias)
        return cls(gate_up, out, place.place.kernels, activation)


class MLP(nn.Module):
    """down(activation(up(x))); ranks divide the intermediate numbers."""

    def __init__(self, up: Linear, down: Linear, activation: str) -> None:
        super().__init__()
        self.up, self.down, self.activation = up, down, ACTIVATIONS[activation]

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        out: Tensor = self.down(self.activation(self.up(x)), onto)
        return out

    @classmethod
    def load(cls, place: Checkpoint, hidden: int, intermediate: int, activation: str, bias: bool | None = None) -> Self:
        down = place / "down_proj"
        unit = (down / "weight").grain()
        return cls(
            Linear.load((place / "up_proj",), hidden, (intermediate,), Split("rows", unit), bias),
            Linear.load((down,), intermediate, (hidden,), Split("columns", unit), bias),
            activation,
        )
