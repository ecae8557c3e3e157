"""What recurrent layers compute around their scans, in plain torch: paces, vectors of length 1, and the gated norm that
leaves them. In fp32, whatever comes in.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .operands import GatedNorm, Pace, Skip


def paces(steps: Tensor, pace: Pace) -> tuple[Tensor, Tensor]:
    wide = steps.float() if pace.slowness is None else steps.float() + pace.slowness
    found = F.softplus(wide).clamp(pace.shortest, pace.longest)
    return found, found if pace.decay is None else found * pace.decay


def unit(x: Tensor, factors: Tensor, eps: float) -> Tensor:
    return x * (torch.rsqrt(x.square().sum(-1, keepdim=True) + eps) * factors[:, None])


def leaving(x: Tensor, gate: Tensor, skip: Skip | None, norm: GatedNorm | None) -> Tensor:
    x = x.reshape(gate.shape)
    if skip is not None:
        heads = skip.values.view(len(x), len(skip.through), -1)
        x = x + (heads * skip.through[:, None]).flatten(1)
    opened = F.silu(gate.float())
    if norm is None:
        return (x * opened).to(gate.dtype)
    out = _normed(x * opened, norm) if norm.gate_first else _normed(x, norm) * opened
    return out.to(gate.dtype)


def _normed(x: Tensor, norm: GatedNorm) -> Tensor:
    groups = x.view(len(x), norm.groups, -1)
    scale = torch.rsqrt(groups.square().mean(-1, keepdim=True) + norm.eps)
    return (groups * scale * norm.weight.view(-1, groups.shape[2])).flatten(1)
