"""Attention over paged keys and values in plain torch: prompts, chunks and single tokens in one flat batch.

One-token sequences that lie side by side are gathered, padded on the left to the longest, and attended in one call; a
chunk is attended sequence by sequence and, where it needs a mask, by tiles of queries, so that no mask grows with the
square of a prompt. Only what the window can see is gathered: pages that left it may already belong to others.
"""

from collections.abc import Iterator
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from ..contract import AttentionSpec, Batch, PagedView
from .operands import Norm, Rotation
from .reference import rms_norm, rotate

_QUERY_TILE: Final = 256
_WIDEST_8_BITS: Final = 448.0  # of e4m3
_NOTHING: Final = 1e-30  # numbers up to here are stored as 0: their steps would not be numbers


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm: Norm | None,
    k_norm: Norm | None,
    rotation: Rotation | None,
    spec: AttentionSpec,
    cache: PagedView,
    batch: Batch,
) -> Tensor:
    """Norm, rotate, store, attend. q [tokens, heads, head_dim], k and v [tokens, kv_heads, head_dim] -> as q."""
    return attend(prepared(q, k, v, q_norm, k_norm, rotation, cache), spec, cache, batch)


def prepared(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_norm: Norm | None,
    k_norm: Norm | None,
    rotation: Rotation | None,
    cache: PagedView,
) -> Tensor:
    """Queries as they ask, once keys and values are stored."""
    q = q if q_norm is None else rms_norm(q, q_norm)
    k = k if k_norm is None else rms_norm(k, k_norm)
    if rotation is not None:
        q, k = rotate(q, rotation), rotate(k, rotation)
    _store(cache.keys, cache.key_scales, cache.slots, k)
    _store(cache.values, cache.value_scales, cache.slots, v)
    return q


def attend(q: Tensor, spec: AttentionSpec, cache: PagedView, batch: Batch, *, eager: bool = False) -> Tensor:
    """What queries find that are prepared, in pages where all is stored; `eager`: everything spelled out in fp32."""
    parts = [
        _attend_run(q[tokens], sequences, spec, cache, batch, eager) for sequences, tokens in runs_of(batch.queries)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _store(pages: Tensor, scales: Tensor | None, slots: Tensor, new: Tensor) -> None:
    """Write `new` [tokens, kv_heads, head_dim] where `slots` say: as the pages' numbers, or as whole steps."""
    places = (slots // pages.shape[1], slots % pages.shape[1])
    if scales is not None:
        new, steps = quantize(new)
        scales.index_put_(places, steps)
    if pages.dtype is torch.float8_e4m3fn:
        new = new.clamp(-_WIDEST_8_BITS, _WIDEST_8_BITS)
    pages.index_put_(places, new.to(pages.dtype))


def quantize(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers of at most 127 [..., head_dim], as floats, and the fp32 step [...] that they are times.

    A step is fp32: it cannot overflow or vanish, whatever a model's keys are, for 2 bytes a head more than fp16 takes.
    It is not a number where one of its numbers is not, so that a broken request is found as without it.
    """
    numbers = numbers.float()
    largest = numbers.abs().amax(-1)
    inverse = torch.where(largest > _NOTHING, torch.full_like(largest, 127) / largest, 0)  # 127 / x rounds twice
    return (numbers * inverse[..., None]).round().nan_to_num(), largest / 127


def runs_of(queries: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Which sequences are attended in one call, and their tokens: neighbours of one token each, others alone."""
    first = token = 0
    while first < len(queries):
        last = first + 1
        while queries[first] == 1 and last < len(queries) and queries[last] == 1:
            last += 1
        count = sum(queries[first:last])
        if count:
            yield slice(first, last), slice(token, token + count)
        first, token = last, token + count


def _attend_run(
    q: Tensor, sequences: slice, spec: AttentionSpec, cache: PagedView, batch: Batch, eager: bool
) -> Tensor:
    contexts = batch.contexts[sequences]
    if len(q) == len(contexts):
        return _attend_tokens(q, contexts, batch.lengths[sequences], spec, cache, cache.table[sequences], eager)
    return _attend_chunk(q, contexts[0], spec, cache, cache.table[sequences], eager)


def _attend_tokens(
    q: Tensor,
    contexts: tuple[int, ...],
    lengths: Tensor,
    spec: AttentionSpec,
    cache: PagedView,
    table: Tensor,
    eager: bool,
) -> Tensor:
    """One token of each sequence, the last one, with all before it that it can see."""
    span = max(context - _first(context - 1, spec) for context in contexts)
    positions = lengths.long()[:, None] + torch.arange(-span, 0, device=q.device)  # [sequences, span]
    keys, values = _gather(cache, table, positions.clamp(min=0))
    before = positions >= _beginning(lengths, spec) if spec.chunk or min(contexts) < span else None
    distances = torch.arange(1 - span, 1, device=q.device).expand(len(q), 1, span)
    visible = None if before is None else before[:, None]
    return _attend(q[:, None], keys, values, spec, distances, visible, eager)[:, 0]


def _attend_chunk(q: Tensor, context: int, spec: AttentionSpec, cache: PagedView, table: Tensor, eager: bool) -> Tensor:
    """The last tokens of one sequence."""
    done = context - len(q)
    lowest = _first(done, spec) if spec.causal else 0
    positions = torch.arange(lowest, context, device=q.device)[None]
    keys, values = _gather(cache, table, positions)
    if not eager and not _special(spec) and (not spec.causal or (done == 0 and _first(context - 1, spec) == 0)):
        return _fused(q[None], keys, values, spec, None, causal=spec.causal)[0]
    tiles = []
    for start in range(0, len(q), _QUERY_TILE):
        stop = min(start + _QUERY_TILE, len(q))
        low = _first(done + start, spec) if spec.causal else 0
        high = done + stop if spec.causal else context
        queries = torch.arange(done + start, done + stop, device=q.device)[:, None]
        inside = slice(low - lowest, high - lowest)
        distances = (positions[:, inside] - queries)[None]  # [1, queries, keys]
        visible = _visible(distances, spec, queries)
        found = _attend(q[None, start:stop], keys[:, inside], values[:, inside], spec, distances, visible, eager)
        tiles.append(found[0])
    return torch.cat(tiles)


def _first(position: int, spec: AttentionSpec) -> int:
    """The first token that the one at `position` sees."""
    if spec.chunk is not None:
        return position // spec.chunk * spec.chunk
    return 0 if spec.window is None else max(0, position + 1 - spec.window)


def _beginning(lengths: Tensor, spec: AttentionSpec) -> Tensor | int:
    """Where what the last token of each sequence sees begins, or earlier where what is gathered does not."""
    return 0 if spec.chunk is None else ((lengths.long() - 1) // spec.chunk * spec.chunk)[:, None]


def _visible(distances: Tensor, spec: AttentionSpec, queries: Tensor) -> Tensor | None:
    """`queries` are positions [queries, 1]."""
    if not spec.causal:
        return None
    seen = distances <= 0
    if spec.chunk is not None:
        return seen & (distances >= -(queries % spec.chunk))
    return seen if spec.window is None else seen & (distances > -spec.window)


def _gather(cache: PagedView, table: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values [sequences, span, kv_heads, head_dim] of positions [sequences, span]."""
    page_size = cache.keys.shape[1]
    places = (table.long().gather(1, positions // page_size), positions % page_size)
    return _read(cache.keys, cache.key_scales, places), _read(cache.values, cache.value_scales, places)


def _read(pages: Tensor, scales: Tensor | None, places: tuple[Tensor, Tensor]) -> Tensor:
    return pages[places] if scales is None else pages[places].float() * scales[places][..., None]


def _special(spec: AttentionSpec) -> bool:
    """Whether it asks for more than torch's own attention computes."""
    return spec.softcap is not None or spec.sinks is not None or spec.alibi is not None


def _attend(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    spec: AttentionSpec,
    distances: Tensor,
    visible: Tensor | None,
    eager: bool,
) -> Tensor:
    """q [sequences, queries, heads, head_dim] over keys [sequences, span, kv_heads, head_dim]; `distances` (key minus
    query) and `visible` are [sequences, queries, span].
    """
    if eager or _special(spec):
        return _spelled_out(q, keys, values, spec, distances, visible)
    return _fused(q, keys, values, spec, visible)


def _fused(
    q: Tensor, keys: Tensor, values: Tensor, spec: AttentionSpec, visible: Tensor | None, causal: bool = False
) -> Tensor:
    q, keys, values = (x.transpose(1, 2) for x in (q, keys.to(q.dtype), values.to(q.dtype)))
    mask = None if visible is None else visible[:, None]
    grouped = q.shape[1] != keys.shape[1]
    out = F.scaled_dot_product_attention(
        q, keys, values, attn_mask=mask, is_causal=causal, scale=spec.scale, enable_gqa=grouped
    )
    return out.transpose(1, 2)


def _spelled_out(
    q: Tensor, keys: Tensor, values: Tensor, spec: AttentionSpec, distances: Tensor, visible: Tensor | None
) -> Tensor:
    """All of it, softcap, alibi and sinks too, in fp32."""
    sequences, queries, _, head_dim = q.shape
    grouped = q.float().view(sequences, queries, keys.shape[2], -1, head_dim).permute(0, 2, 3, 1, 4)
    keys, values = (x.float().transpose(1, 2)[:, :, None] for x in (keys, values))
    scores = (grouped @ keys.transpose(-1, -2) * spec.scale).flatten(1, 2)  # [sequences, heads, queries, span]
    if spec.softcap is not None:
        scores = (scores / spec.softcap).tanh() * spec.softcap
    if spec.alibi is not None:
        scores = scores + spec.alibi.view(-1, 1, 1) * distances[:, None]
    if visible is not None:
        scores = scores.masked_fill(~visible[:, None], float("-inf"))
    if spec.sinks is not None:
        sinks = spec.sinks.float().view(1, -1, 1, 1).expand(sequences, -1, queries, 1)
        shares = torch.cat((scores, sinks), -1).softmax(-1)[..., :-1]
    else:
        shares = scores.softmax(-1)
    mixed = shares.view(sequences, keys.shape[1], -1, queries, shares.shape[-1]) @ values
    return mixed.flatten(1, 2).transpose(1, 2).to(q.dtype)
