"""Mixtures of experts: a router picks a few of many feed-forward layers for each token, and their results are added.

Files have experts in three layouts: a matrix each, stacked as transformers 5 writes them, gate above up in one tensor,
and stacked as GGUF has them. A matrix each stays where it is mapped. Ranks divide every expert's intermediate numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, TypeAlias

import torch
from torch import Tensor, nn

from .. import ops
from ..contract import Collective, Part, Weight
from ..ops.cpu.kernels import Kernels
from ..quantized import QuantizedTensor
from .checkpoint import Checkpoint
from .linear import Linear
from .mlp import GatedMLP
from .split import Split, joining

Curve: TypeAlias = Callable[[Tensor, Kernels | None], Tensor]  # [rows, gate and up side by side] -> [rows, numbers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """How a token chooses `choices` of `experts`, and what each one's result is times.

    Softmax over the chosen logits alone is "softmax", `normalised`. Of more than one group only the experts of the
    `kept` best are chosen from; a group is as good as its `best_of_group` best experts together. `corrected`: a bias
    of the checkpoint counts for the choice alone.
    """

    experts: int
    choices: int
    score: Literal["softmax", "sigmoid"] = "softmax"
    normalised: bool = True
    scale: float = 1.0
    groups: int = 1
    kept: int = 1
    best_of_group: int = 1
    corrected: bool = False


class Router(nn.Module):
    """x [rows, hidden] -> which experts [rows, choices] int64, and their shares, fp32."""

    def __init__(
        self,
        routing: Routing,
        weight: Weight,
        bias: Tensor | None = None,
        correction: Tensor | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__()
        self.routing, self.weight, self.bias, self.correction = routing, weight, bias, correction
        self.kernels = kernels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = ops.linear(x.float(), (self.weight,), (self.bias,), self.kernels)
        return self.choose(logits)

    def choose(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """From a score for every expert, fp32 [rows, experts]."""
        routing = self.routing
        scores = logits.softmax(-1) if routing.score == "softmax" else logits.sigmoid()
        ranked = scores if self.correction is None else scores + self.correction
        chosen = _in_best_groups(ranked, routing).topk(routing.choices, -1).indices
        shares = scores.gather(-1, chosen)
        if routing.normalised:
            shares = shares / shares.sum(-1, keepdim=True)
        return chosen, shares * routing.scale

    def own_weights(self) -> Iterator[Weight]:
        yield self.weight
        yield from (each for each in (self.bias, self.correction) if each is not None)

    @classmethod
    def load(
        cls,
        place: Checkpoint,
        routing: Routing,
        hidden: int,
        *,
        bias: bool = False,
        correction: Checkpoint | None = None,
    ) -> Self:
        """`correction` is where the bias for the choice lies; beside the weight, where it is not said."""
        size, corrected = routing.experts, correction or place / "e_score_correction_bias"
        return cls(
            routing,
            (place / "weight").matrix((size, hidden)),
            (place / "bias").vector(size) if bias else None,
            corrected.vector(size) if routing.corrected else None,
            place.place.kernels,
        )


def _in_best_groups(ranked: Tensor, routing: Routing) -> Tensor:
    if routing.groups == 1:
        return ranked
    grouped = ranked.view(len(ranked), routing.groups, -1)
    worth = grouped.topk(routing.best_of_group, -1).values.sum(-1)
    best = torch.zeros_like(worth, dtype=torch.bool).scatter_(-1, worth.topk(routing.kept, -1).indices, True)
    return grouped.masked_fill(~best[..., None], float("-inf")).flatten(-2)


class Experts(nn.Module):
    """down(curve(gate(x), up(x))) of each chosen expert, times its share, added up. On a rank: its share of the sum.

    `gate_up` are matrices of gate and of up, or one of both. Biases are [experts, out].
    """

    def __init__(
        self,
        gate_up: Sequence[ops.Matrices],
        down: ops.Matrices,
        curve: Curve,
        gate_up_bias: Tensor | None = None,
        down_bias: Tensor | None = None,
        kernels: Kernels | None = None,
    ) -> None:
        super().__init__()
        self.gate_up, self.down, self.curve, self.kernels = tuple(gate_up), down, curve, kernels
        self.gate_up_bias, self.down_bias = gate_up_bias, down_bias

    def forward(self, x: Tensor, chosen: Tensor, shares: Tensor) -> Tensor:
        sides = [ops.experts(x, matrices, chosen, self.kernels) for matrices in self.gate_up]
        both = sides[0] if len(sides) == 1 else torch.cat(sides, -1)
        both = both if self.gate_up_bias is None else both + _of_chosen(self.gate_up_bias, chosen)
        inner = self.curve(both.flatten(0, 1), self.kernels)
        out = ops.experts(inner, self.down, chosen.view(-1, 1), self.kernels).view(*chosen.shape, -1)
        out = out if self.down_bias is None else out + _of_chosen(self.down_bias, chosen)
        return (out.float() * shares[..., None]).sum(1).to(x.dtype)

    def own_weights(self) -> Iterator[Weight]:
        for matrices in (*self.gate_up, self.down):
            yield from matrices if isinstance(matrices, tuple) else (matrices,)
        yield from (bias for bias in (self.gate_up_bias, self.down_bias) if bias is not None)

    @classmethod
    def load(
        cls,
        place: Checkpoint,
        count: int,
        hidden: int,
        intermediate: int,
        names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
        curve: Curve = ops.silu_mul,
        *,
        both: Checkpoint | None = None,
        down: Checkpoint | None = None,
    ) -> Self:
        """`names` of gate, up and down, where each expert has a place of its own; `both` and `down` are where a file
        may have those of all: there, where it is not said, as transformers 5 has them.
        """
        fused = (both or place / "gate_up_proj", down or place / "down_proj")
        stacked = _stacked(place, fused, count, hidden, intermediate) or _unstacked(fused, count, hidden, intermediate)
        sides, out = stacked or _apart(place, count, hidden, intermediate, names)
        return cls(sides, out, curve, kernels=place.place.kernels)


def _of_chosen(bias: Tensor, chosen: Tensor) -> Tensor:
    return bias.index_select(0, chosen.flatten()).view(*chosen.shape, -1)


def _stacked(
    place: Checkpoint, fused: tuple[Checkpoint, Checkpoint], count: int, hidden: int, intermediate: int
) -> tuple[list[ops.Matrices], ops.Matrices] | None:
    """All experts in one tensor of each projection, gate and up apart or one above the other; None: there is none."""
    apart = [place / f"{name}_proj" / "weight" for name in ("gate", "up", "down")]
    (gate, up, down), both = apart, None
    if not any(each.exists() for each in apart):
        both, down = fused
        if not both.exists() and not down.exists():
            return None
    share = share_of(intermediate, down)
    out = down.matrix((count, hidden, intermediate), _along(2, share))
    if both is None:
        rows = _along(1, share)
        return [each.matrix((count, intermediate, hidden), rows) for each in (gate, up)], out
    start, stop = share or (0, intermediate)
    parts = [Part(1, first + start, first + stop) for first in (0, intermediate)]
    return [both.matrix((count, 2 * intermediate, hidden), part) for part in parts], out


def _unstacked(
    fused: tuple[Checkpoint, Checkpoint], count: int, hidden: int, intermediate: int
) -> tuple[list[ops.Matrices], ops.Matrices] | None:
    """Of stacks that other tools have packed each expert's are read by themselves; None: there are none."""
    both, down = ([each / expert for expert in range(count)] for each in fused)
    if not both[0].exists() and not down[0].exists():
        return None
    share = share_of(intermediate, down[0])
    start, stop = share or (0, intermediate)
    parts = [Part(0, first + start, first + stop) for first in (0, intermediate)]
    sides = [together([each.matrix((2 * intermediate, hidden), part) for each in both]) for part in parts]
    return sides, together([each.matrix((hidden, intermediate), _along(1, share)) for each in down])


def _apart(
    place: Checkpoint, count: int, hidden: int, intermediate: int, names: tuple[str, str, str]
) -> tuple[list[ops.Matrices], ops.Matrices]:
    """A matrix an expert and projection."""
    gate, up, down = ([place / expert / name / "weight" for expert in range(count)] for name in names)
    share = share_of(intermediate, down[0])
    rows, columns = _along(0, share), _along(1, share)
    sides = [together([each.matrix((intermediate, hidden), rows) for each in side]) for side in (gate, up)]
    return sides, together([each.matrix((hidden, intermediate), columns) for each in down])


def share_of(intermediate: int, down: Checkpoint) -> tuple[int, int] | None:
    """This rank's intermediate numbers, in whole blocks of what `down` is stored in; None: all."""
    part = Split("rows", down.grain()).part(intermediate, down.place, down.name)
    return None if part is None else (part.start, part.stop)


def _along(dim: int, share: tuple[int, int] | None) -> Part | None:
    return None if share is None else Part(dim, *share)


def together(matrices: Sequence[Weight]) -> ops.Matrices:
    """The matrices of several experts as `ops.experts` takes them. Plain ones of a CPU stay views of their file, and
    what was packed by other tools, or in different ways, stays apart.
    """
    packed = [each for each in matrices if isinstance(each, QuantizedTensor)]
    plain = tuple(each for each in matrices if isinstance(each, Tensor))
    if not packed:
        return plain if plain[0].device.type == "cpu" else torch.stack(plain)
    first = packed[0]
    if plain or not all(first.alike(each) for each in packed):
        return tuple(matrices)
    side = {
        name: one if name == "table" else torch.cat([each.side[name] for each in packed])
        for name, one in first.side.items()
    }
    data = torch.cat([each.data for each in packed])
    return replace(first, shape=(len(packed), *first.shape), data=data, side=side)


class Shared(nn.Module):
    """An expert that every token takes, times sigmoid(gate(x)) where it has a gate."""

    def __init__(self, mlp: GatedMLP, gate: Linear | None = None) -> None:
        super().__init__()
        self.mlp, self.gate = mlp, gate

    def forward(self, x: Tensor, onto: Tensor) -> Tensor:
        """Added to `onto`, which may be overwritten."""
        out: Tensor = self.mlp(x, onto) if self.gate is None else onto + self.gate(x).sigmoid() * self.mlp(x)
        return out

    @classmethod
    def load(cls, place: Checkpoint, hidden: int, intermediate: int, gate: Checkpoint | None = None) -> Self:
        mlp = GatedMLP.load(place, hidden, intermediate)
        return cls(mlp, None if gate is None else Linear.load((gate,), hidden, (1,)))


class MoE(nn.Module):
    """A feed-forward layer of experts, with or without one that every token takes."""

    def __init__(
        self, router: Router, experts: nn.Module, shared: Shared | None = None, collective: Collective | None = None
    ) -> None:
        super().__init__()
        self.router, self.experts, self.shared, self.collective = router, experts, shared, collective

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """With `onto`, added to that, which may be overwritten."""
        chosen, shares = self.router(x)
        out: Tensor = self.experts(x, chosen, shares)
        out = out if self.collective is None else self.collective.sum(out)
        out = out if onto is None else onto + out
        return out if self.shared is None else self.shared(x, out)

    @classmethod
    def of(cls, place: Checkpoint, router: Router, experts: nn.Module, shared: Shared | None = None) -> Self:
        return cls(router, experts, shared, joining(place.place, place.name))
