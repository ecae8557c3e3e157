"""A model of twenty lines, exact enough to see any page that went astray, and a tokenizer of bytes.

The model stores each token's id in its paged cache, reads them back through the page table, and makes its scores of a
sum over all that came before: one wrong page, position or slot, and another token is chosen.
"""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import torch
from tokenizers import Tokenizer as Pipeline
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from unillm.models.contract import Batch, CacheSpec, Model, PagedLayer, Placement, Weight
from unillm.runtime.text.pieces import Pieces, byte_letters
from unillm.runtime.text.tokenizer import Tokenizer
from unillm.runtime.text.vocabulary import Vocabulary

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
            pages, places = view.slots // view.keys.shape[1], view.slots % view.keys.shape[1]
            view.keys[pages, places, 0, 0] = batch.ids.float()
            view.values[pages, places, 0, 0] = batch.positions.float()
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


class ByteTokenizer(Tokenizer):
    """A real tokenizer with a token a byte, and after them `<s>` (256), which begins a text, and `</s>` (257)."""

    def __init__(self) -> None:
        letters = [byte_letters()[byte] for byte in range(256)]
        pipeline = Pipeline(BPE({letter: byte for byte, letter in enumerate(letters)}, []))
        pipeline.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
        pipeline.add_special_tokens(["<s>", "</s>"])
        super().__init__(
            Vocabulary(
                source="the tests",
                pipeline=pipeline,
                tokens=(*letters, "<s>", "</s>"),
                pieces=Pieces((*(bytes([byte]) for byte in range(256)), b"<s>", b"</s>")),
                added={"<s>": 256, "</s>": 257},
                special=frozenset({256, 257}),
                roles={"bos_token": "<s>", "eos_token": "</s>"},
                bos_id=256,
                eos_ids=frozenset({257}),
                before=(256,),
            )
        )
