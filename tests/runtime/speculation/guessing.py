"""Engines that guess at every step, whatever it costs, over models that repeat themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from unillm.runtime.engine import Engine
from unillm.runtime.options import EngineOptions
from unillm.runtime.speculation.costs import StepCosts
from unillm.runtime.speculation.speculator import Speculator
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel

How: TypeAlias = Literal["off", "ngram", "same", "near", "other"]


class Repeating(FakeModel):
    """What it says depends on the token before, and a little on all before that: it turns in circles, not for ever.

    `noise` makes of it a model that is nearly the same.
    """

    def __init__(self, *, noise: float = 0.0, context: int = 512, vocabulary: int = 258, layers: int = 2) -> None:
        super().__init__(vocabulary=vocabulary, context=context, layers=layers)
        self.scores = torch.randn(512, vocabulary, generator=torch.Generator().manual_seed(8)) * 3
        self.scores += noise * torch.randn(512, vocabulary, generator=torch.Generator().manual_seed(9))

    def logits(self, hidden: Tensor) -> Tensor:
        rare = (hidden[:, 0].long() % 41 == 0).long()
        scores = self.scores[(2 * hidden[:, 1].long() + rare) % 512].clone()
        for token, value in self.poison.items():
            scores[hidden[:, 1] == token, 7] = value
        return scores


class Free(StepCosts):
    """Rows cost nothing."""

    def seconds(self, rows: int) -> float:
        return 1.0


def draft_of(how: How) -> FakeModel | None:
    if how == "same":
        return Repeating()
    if how == "near":
        return Repeating(noise=1.0, layers=1)
    return FakeModel(vocabulary=258, layers=1) if how == "other" else None


def speculator_of(engine: Engine) -> Speculator:
    desk = engine._open_desk
    assert desk is not None
    speculator = desk._wheel.speculator
    assert speculator is not None
    return speculator


@contextmanager
def guessing(
    how: How, *, pages: int = 256, page_size: int = 4, batch_tokens: int = 64, sequences: int = 8, context: int = 512
) -> Iterator[Engine]:
    """An engine that guesses in this way, and must end with every page accounted for, the draft's too."""
    model = Repeating(context=context)
    options = EngineOptions(
        kv_memory=pages * 2 * 4 * model.layers * page_size,
        page_size=page_size,
        batch_tokens=batch_tokens,
        sequences=sequences,
        draft="ngram" if how == "ngram" else "off",
    )
    with Engine(model, ByteTokenizer(), options=options, draft=draft_of(how)) as engine:
        if how != "off":
            eager(engine)
        yield engine
        engine.check()
        if how != "off":
            assert speculator_of(engine).error is None


def eager(engine: Engine) -> None:
    speculator = speculator_of(engine)
    speculator._costs = Free()
    speculator.proposer.seconds = lambda _: 0.0  # type: ignore[method-assign, assignment]
