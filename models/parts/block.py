"""Layers of a decoder: where norms stand, and what is added to what.

In attention's place there may be anything that is called as attention is, and keeps what it must.
"""

from torch import Tensor, nn

from .. import ops
from ..contract import Batch, PagedView, StateView
from .norm import RMSNorm


class Block(nn.Module):
    """Attention and feed-forward, each on a norm of what came before, each added to it.

    A norm may be None; `after_attention` and `after_mlp` norm what is added, which is multiplied by `scale`.
    """

    def __init__(
        self,
        attention_norm: nn.Module | None,
        attention: nn.Module,
        mlp_norm: nn.Module | None,
        mlp: nn.Module,
        *,
        after_attention: nn.Module | None = None,
        after_mlp: nn.Module | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.attention_norm, self.attention, self.mlp_norm, self.mlp = attention_norm, attention, mlp_norm, mlp
        self.after_attention, self.after_mlp, self.scale = after_attention, after_mlp, scale

    def forward(
        self, hidden: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: PagedView | StateView
    ) -> Tensor:
        x = hidden if self.attention_norm is None else self.attention_norm(hidden)
        if self.after_attention is None and self.scale == 1.0:
            hidden = self.attention(x, rotation, batch, cache, onto=hidden)
        else:
            hidden = self._added(hidden, self.attention(x, rotation, batch, cache), self.after_attention)
        x = hidden if self.mlp_norm is None else self.mlp_norm(hidden)
        if self.after_mlp is None and self.scale == 1.0:
            out: Tensor = self.mlp(x, onto=hidden)
            return out
        return self._added(hidden, self.mlp(x), self.after_mlp)

    def _added(self, hidden: Tensor, branch: Tensor, norm: nn.Module | None) -> Tensor:
        if isinstance(norm, RMSNorm) and self.scale == 1.0:
            return norm(branch, hidden)  # type: ignore[no-any-return]
        branch = branch if norm is None else norm(branch)
        return hidden + (branch if self.scale == 1.0 else branch * self.scale)


class ParallelBlock(nn.Module):
    """Attention and feed-forward side by side, on one norm or on one each; both are added to what came before."""

    def __init__(
        self, attention_norm: nn.Module, attention: nn.Module, mlp_norm: nn.Module | None, mlp: nn.Module
    ) -> None:
        super().__init__()
        self.attention_norm, self.attention, self.mlp_norm, self.mlp = attention_norm, attention, mlp_norm, mlp

    def forward(
        self, hidden: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: PagedView | StateView
    ) -> Tensor:
        x = self.attention_norm(hidden)
        y = x if self.mlp_norm is None else self.mlp_norm(hidden)
        out: Tensor = self.mlp(y, onto=self.attention(x, rotation, batch, cache, onto=hidden))
        return out


class PostNormBlock(nn.Module):
    """As the first transformers: each sum is normed, and nothing before it."""

    def __init__(self, attention: nn.Module, attention_norm: nn.Module, mlp: nn.Module, mlp_norm: nn.Module) -> None:
        super().__init__()
        self.attention, self.attention_norm, self.mlp, self.mlp_norm = attention, attention_norm, mlp, mlp_norm

    def forward(
        self, hidden: Tensor, rotation: ops.Rotation | None, batch: Batch, cache: PagedView | StateView
    ) -> Tensor:
        # What is normed is read again: nothing may be added onto it in place.
        hidden = self.attention_norm(hidden + self.attention(hidden, rotation, batch, cache))
        out: Tensor = self.mlp_norm(hidden + self.mlp(hidden))
        return out
