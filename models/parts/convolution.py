"""A short causal convolution: every channel sees its own last few inputs."""

from collections.abc import Iterator
from typing import Final, Self

from torch import Tensor, nn

from .. import ops
from ..contract import Batch, StateTensor, StateView, Weight
from ..ops.cpu.kernels import Kernels
from .checkpoint import Checkpoint

MOST_TAPS: Final = 64


class ShortConvolution(nn.Module):
    """`weight` is [taps, channels] fp32, the oldest input first; the inputs before are the state "inputs"."""

    def __init__(self, weight: Tensor, bias: Tensor | None, kernels: Kernels | None, *, silu: bool = True) -> None:
        super().__init__()
        self.weight, self.bias, self.kernels, self.silu = weight, bias, kernels, silu

    def forward(self, x: Tensor, batch: Batch, cache: StateView) -> Tensor:
        """Of x [tokens, channels], in fp32."""
        return ops.causal_conv(
            x,
            self.weight,
            self.bias,
            name="inputs",
            cache=cache,
            batch=batch,
            silu=self.silu,
            kernels=self.kernels,
        )

    def state(self) -> StateTensor:
        return StateTensor((len(self.weight) - 1, self.weight.shape[1]))

    def own_weights(self) -> Iterator[Weight]:
        yield self.weight
        if self.bias is not None:
            yield self.bias

    @classmethod
    def load(cls, place: Checkpoint, channels: int, taps: int, *, bias: bool | None, silu: bool = True) -> Self:
        """Hugging Face has the convolution's single input channel between channels and taps, a GGUF has not.
        `bias=None`: if the file has one.
        """
        between = () if place.in_gguf else (1,)
        weight = (place / "weight").numbers(channels, *between, taps).flatten(1).T.contiguous()
        biased = (place / "bias").exists() if bias is None else bias
        bias_of = (place / "bias").vector(channels) if biased else None
        return cls(weight, bias_of, place.place.kernels, silu=silu)
