"""A vector for a text, from a model that writes: the hidden state behind its last token.

Models that were trained for it pool as they were trained; one that was not has nothing better to offer than this, which
is what other programs give for it too.
"""

from collections.abc import Sequence

import torch

from ..models.contract import Model, contiguous_cache, one_sequence

CHUNK = 512  # tokens computed at once: intermediate results stay small


@torch.inference_mode()
def embed(model: Model, ids: Sequence[int]) -> list[float]:
    """The hidden state [hidden] after the last norm, of the last of `ids`, fp32."""
    cache = contiguous_cache(model.cache_spec(), len(ids), model.place)
    hidden = None
    for start in range(0, len(ids), CHUNK):
        batch = one_sequence(ids[start : start + CHUNK], start, cache, model.place.device)
        hidden = model(batch)[-1]
    return [] if hidden is None else [float(value) for value in hidden.float().tolist()]
