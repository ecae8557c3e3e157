"""A model and a tokenizer of twenty lines each, exact enough to see any page that went astray.

The model stores each token's id in its paged cache, reads them back through the page table, and makes its scores of a
sum over all that came before: one wrong page, position or slot, and another token is chosen.
"""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor

from unillm.models.contract import Batch, CacheSpec, Model, PagedLayer, Placement, Weight

BUCKETS = 2003


class FakeModel(Model):
    """`poison` names ids after which scores hold that value; a `script` is what is said after
    any prompt of two tokens.
    """

    def __init__(self, *, vocabulary: int = 300, context: int = 512, layers: int = 2) -> None:
        super().__init__()
        self.config = SimpleNamespace(context=context, vocabulary=vocabulary)
        self.place = Placement(torch.device("cpu"), torch.float32)
        self.scores = torch.randn(BUCKETS, vocabulary, generator=torch.Generator().manual_seed(5)) * 3
        self.layers = layers
        self.poison: dict[int, float] = {}
        self.script: list[int] = []
        self.batches: list[Batch] = []

    def forward(self, batch: Batch) -> Tensor:
        self.batches.append(batch)
        hidden = torch.stack((batch.ids, batch.ids, batch.positions), 1).float()
        for view in batch.cache:
            view.keys.view(-1)[view.slots] = batch.ids.float()
            view.values.view(-1)[view.slots] = batch.positions.float()
        for row, (count, context) in enumerate(zip(batch.queries, batch.contexts, strict=True)):
            view = batch.cache[-1]
            ids, places = (part[view.table[row].long()].reshape(-1)[:context] for part in (view.keys, view.values))
            assert torch.equal(places, torch.arange(context).float())
            start = int(batch.starts[row])
            hidden[start : start + count, 0] = fingerprints(ids.long())[context - count :].float()
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        scores = self.scores[hidden[:, 0].long()].clone()
        for token, value in self.poison.items():
            scores[hidden[:, 1] == token, 7] = value
        for place, token in enumerate(self.script, 1):
            scores[hidden[:, 2] == place, token] = 100.0
        return scores

    def logits_of(self, ids: Sequence[int]) -> Tensor:
        """The scores of every position, without any cache."""
        return self.scores[fingerprints(torch.tensor(ids))]

    def cache_spec(self) -> CacheSpec:
        return CacheSpec(tuple(PagedLayer(1, 1) for _ in range(self.layers)))

    def weights(self) -> Iterator[Weight]:
        yield self.scores

    def answer(self, prompt: Sequence[int], count: int, ends: Sequence[int] = ()) -> list[int]:
        """The greedy continuation, without any cache."""
        tokens = list(prompt)
        while len(tokens) < len(prompt) + count and not (len(tokens) > len(prompt) and tokens[-1] in ends):
            tokens.append(int(self.scores[int(fingerprints(torch.tensor(tokens))[-1])].argmax()))
        return tokens[len(prompt) :]


def fingerprints(ids: Tensor) -> Tensor:
    """A number for each prefix of `ids`, in which every id and its place count."""
    places = torch.arange(1, len(ids) + 1)
    return ((ids + 1) * (places * 31 % 101 + 1)).cumsum(0) % BUCKETS


class ByteTokenizer:
    """A token a byte, and after them `<s>` (256) and `</s>` (257)."""

    vocab_size = 258
    bos_id = 256
    eos_ids = (257,)

    def encode(self, text: str, *, special: bool = False, bos: bool | None = None) -> list[int]:
        parts = text.replace("</s>", "\x00").split("\x00") if special else [text]
        ids = [id_ for part in parts for id_ in (*part.encode(), 257)][:-1]
        return [256, *ids] if bos or bos is None else ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        return bytes(id_ for id_ in ids if id_ < 256).decode(errors="replace")

    def token(self, id_: int) -> str:
        return {256: "<s>", 257: "</s>"}.get(id_, f"<{id_}>")

    def is_special(self, id_: int) -> bool:
        return id_ >= 256
