"""Every row of the zoo computes what the reference implementation does, however a sequence is cut and batched."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from unillm.models.contract import Model
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import distance


@pytest.fixture(scope="module", params=zoo.rows())
def row(request: pytest.FixtureRequest) -> zoo.Row:
    found: zoo.Row = request.param
    return found


@pytest.fixture(scope="module", params=[zoo.PLACE, zoo.EXACT], ids=["plain", "kernels"])
def model(request: pytest.FixtureRequest, row: zoo.Row, tmp_path_factory: pytest.TempPathFactory) -> Model:
    if request.param is zoo.EXACT and zoo.EXACT.kernels is None:
        pytest.skip("no CPU kernels here")
    folder: Path = tmp_path_factory.mktemp(row.name)
    return load_model(zoo.save(zoo.reference(row), folder), request.param)


@pytest.fixture(scope="module")
def whole(row: zoo.Row, model: Model) -> Tensor:
    return Pages(model).whole(zoo.prompt(row))


def test_all_logits_equal_the_reference(row: zoo.Row, whole: Tensor) -> None:
    wanted = zoo.expected(zoo.reference(row), zoo.prompt(row), stepwise=row.stepwise)
    assert distance(whole, wanted) <= zoo.TOLERANCE


def test_greedy_tokens_equal_the_reference(row: zoo.Row, model: Model) -> None:
    """Wherever the reference's two best are further apart than the tolerance."""
    ids = zoo.prompt(row, 40)
    answer = model.generate(ids, 32)
    scores = zoo.expected(zoo.reference(row), ids + answer, stepwise=row.stepwise)[len(ids) - 1 : -1]
    best = scores.topk(2)
    close = best.values[:, 0] - best.values[:, 1] <= zoo.TOLERANCE * scores.abs().max()
    assert len(answer) == 32
    assert (close | (best.indices[:, 0] == torch.tensor(answer))).all()
    assert close.sum() <= 4


@pytest.mark.parametrize("sizes", [(32, 1, 20, 17), (1,) * zoo.PROMPT, (69, 1)], ids=["chunks", "steps", "last"])
def test_a_sequence_may_be_cut_anywhere(row: zoo.Row, model: Model, whole: Tensor, sizes: tuple[int, ...]) -> None:
    pieces = Pages(model).pieces(zoo.prompt(row), sizes)
    assert distance(pieces, whole) <= zoo.TOLERANCE / 10


def test_a_batch_computes_each_sequence_as_if_alone(row: zoo.Row, model: Model) -> None:
    """Prompts, chunks and single tokens of different lengths, mixed in one forward pass."""
    prompts = {sequence: zoo.prompt(row, length, seed=sequence) for sequence, length in enumerate((40, 70, 5, 33, 61))}
    alone = {sequence: Pages(model).whole(ids) for sequence, ids in prompts.items()}
    pages = Pages(model)
    got: dict[int, list[Tensor]] = {sequence: [] for sequence in prompts}
    done = dict.fromkeys(prompts, 0)
    for sizes in ((38, 40, 0, 32, 0), (1, 29, 4, 1, 60), (1, 1, 1, 0, 1)):
        fresh = {s: prompts[s][done[s] : done[s] + size] for s, size in enumerate(sizes) if size}
        for sequence, logits in pages.run(fresh).items():
            got[sequence].append(logits)
            done[sequence] += len(logits)
    for sequence, wanted in alone.items():
        assert distance(torch.cat(got[sequence]), wanted) <= zoo.TOLERANCE / 10
