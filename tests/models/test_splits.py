"""Ranks that share a model compute what one alone does: each loads its part, and sums meet where they must."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
import torch
from torch import Tensor

from unillm.models.contract import Collective, Model, Part, Placement
from unillm.models.errors import SplitError
from unillm.models.parts.mlp import GatedMLP
from unillm.models.parts.split import Split
from unillm.registry.files import ModelFiles
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import write_gguf
from unillm.tests.models.paged import Pages
from unillm.tests.models.test_dense_fixtures import FIXTURES, NAMES, stored
from unillm.tests.models.zoo import PLACE, distance


class Meeting:
    """Where the threads that stand for ranks exchange their shares."""

    def __init__(self, world: int) -> None:
        self.barrier = Barrier(world, timeout=30)
        self.shares: list[Tensor | None] = [None] * world

    def exchange(self, rank: int, share: Tensor) -> list[Tensor]:
        self.shares[rank] = share
        self.barrier.wait()
        found = [each for each in self.shares if each is not None]
        self.barrier.wait()
        return found


class Member:
    """One rank's end of it."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank, self.sums = meeting, rank, 0

    def sum(self, share: Tensor) -> Tensor:
        self.sums += 1
        return torch.stack(self.meeting.exchange(self.rank, share)).sum(0)

    def gather(self, share: Tensor) -> Tensor:
        return torch.cat(self.meeting.exchange(self.rank, share), -1)


def ranks(files: ModelFiles, world: int) -> list[Model]:
    meeting = Meeting(world)
    members: list[Collective] = [Member(meeting, rank) for rank in range(world)]
    places = [replace(PLACE, rank=rank, world=world, collective=member) for rank, member in enumerate(members)]
    return [load_model(files, place) for place in places]


def together(models: list[Model], run: Callable[[Model], Tensor]) -> list[Tensor]:
    with ThreadPoolExecutor(len(models)) as pool:
        return list(pool.map(run, models))


def check(row: zoo.Row, files: ModelFiles, world: int) -> None:
    check_ids(zoo.prompt(row), files, world)


def check_ids(ids: list[int], files: ModelFiles, world: int) -> None:
    alone = Pages(load_model(files, PLACE)).whole(ids)
    shares = together(ranks(files, world), lambda model: Pages(model).pieces(ids, (len(ids) - 9, 1, 8)))
    for logits in shares:
        assert torch.equal(logits, shares[0])
        assert distance(logits, alone) <= zoo.TOLERANCE / 10


SHARED = ("llama2", "llama3.2", "llama-bias", "mistral0.1", "qwen2", "qwen3")


@pytest.mark.parametrize("world", [2, 4], ids=lambda world: f"{world} ranks")
@pytest.mark.parametrize("name", SHARED)
def test_ranks_compute_what_one_does(name: str, world: int, tmp_path: Path) -> None:
    """Four ranks share two heads of keys: neighbours then hold the same one."""
    row = zoo.BY_NAME[name]
    check(row, zoo.save(zoo.reference(row), tmp_path), world)


# Of each kind of layer one; the others are in the full matrix.
ALWAYS = {
    "bloom-6-heads",
    "command-r-plus",
    "dbrx",
    "deepseek-v3",
    "falcon-40b",
    "gemma3",
    "gpt2",
    "granite-moe-shared",
    "jamba",
    "mixtral",
    "olmo2",
    "qwen2-moe",
}
EACH = [
    pytest.param(row, id=row.name, marks=() if row.name in ALWAYS else pytest.mark.slow)
    for row in zoo.ROWS
    if row.name not in SHARED
]


@pytest.mark.parametrize("row", EACH)
def test_two_ranks_compute_what_one_does(row: zoo.Row, tmp_path: Path) -> None:
    """Each has some heads, some intermediate numbers, of every expert too. States every rank computes whole."""
    check(row, zoo.save(zoo.reference(row), tmp_path), 2)


def test_packed_experts_are_divided_at_their_blocks(tmp_path: Path) -> None:
    row = replace(zoo.BY_NAME["mixtral"], name="even", settings={**zoo.BY_NAME["mixtral"].settings, "head_dim": 32})
    check(row, write_gguf(row, tmp_path, "Q8_0").files, 2)


def test_a_vocabulary_that_divides_is_divided(tmp_path: Path) -> None:
    row = replace(zoo.BY_NAME["llama2"], name="even", settings={"vocab_size": 132})
    files = zoo.save(zoo.reference(row), tmp_path)
    check(row, files, 2)
    assert [len(model.head.weight) for model in ranks(files, 2)] == [66, 66]  # type: ignore[arg-type, union-attr]


@pytest.mark.parametrize(("name", "kind"), [("llama2", "Q4_0"), ("qwen2", "Q8_0")])
def test_packed_weights_divide_at_their_blocks(name: str, kind: str, tmp_path: Path) -> None:
    row = zoo.BY_NAME[name]
    row = replace(row, name=f"{row.name}-even", settings={**row.settings, "vocab_size": 132, "head_dim": 32})
    check(row, write_gguf(row, tmp_path, kind).files, 2)


def test_each_rank_takes_its_part_of_the_bytes(tmp_path: Path) -> None:
    row = zoo.BY_NAME["llama2"]
    files = zoo.save(zoo.reference(row), tmp_path)
    whole = load_model(files, PLACE)
    shares = ranks(files, 2)
    layers = [sum(weight.nbytes for weight in model.weights() if weight.shape[0] < 131) for model in (whole, *shares)]
    assert layers[1] == layers[2] < 0.52 * layers[0]
    assert [layer.kv_heads for layer in shares[0].cache_spec().paged] == [1, 1, 1]


@pytest.mark.parametrize("world", [3, 8])
def test_heads_that_do_not_divide_are_refused(world: int, tmp_path: Path) -> None:
    files = zoo.save(zoo.reference(zoo.BY_NAME["llama2"]), tmp_path)
    with pytest.raises(SplitError, match=f"over {world} ranks"):
        ranks(files, world)


def test_columns_that_do_not_fall_on_blocks_are_refused(tmp_path: Path) -> None:
    """A head of 16 numbers is half a block."""
    files = write_gguf(zoo.BY_NAME["llama2"], tmp_path, "Q8_0").files
    with pytest.raises(SplitError, match=r"attn_output.*4 ranks"):
        ranks(files, 4)


def test_ranks_that_nothing_joins_are_refused(tmp_path: Path) -> None:
    files = zoo.save(zoo.reference(zoo.BY_NAME["llama2"]), tmp_path)
    with pytest.raises(SplitError, match="nothing joins"):
        load_model(files, replace(PLACE, world=2))


PLACES = [Placement(torch.device("cpu"), torch.float32, rank, 3) for rank in range(3)]


def test_rows_are_shared_out_in_whole_units() -> None:
    parts = [Split("rows", 32).part(7 * 32, place, "w") for place in PLACES]
    assert parts == [Part(0, 0, 64), Part(0, 64, 128), Part(0, 128, 224)]


def test_fewer_heads_than_ranks_are_held_by_neighbours() -> None:
    places = [replace(PLACES[0], rank=rank, world=4) for rank in range(4)]
    parts = [Split("heads", 16).part(32, place, "w") for place in places]
    assert parts == [Part(0, 0, 16), Part(0, 0, 16), Part(0, 16, 32), Part(0, 16, 32)]


def test_one_rank_takes_everything() -> None:
    assert Split("columns", 7).part(10, PLACE, "w") is None


def test_packed_blocks_may_make_shares_uneven(tmp_path: Path) -> None:
    """96 numbers are three blocks of 32."""
    models = ranks(write_gguf(zoo.BY_NAME["llama2"], tmp_path, "Q8_0").files, 2)
    gate_ups = [next(m for m in model.modules() if isinstance(m, GatedMLP)).gate_up for model in models]
    assert [linear.sizes for linear in gate_ups] == [(32, 32), (64, 64)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_ranks_compute_what_one_does_of_every_fixture(name: str) -> None:
    """Where the versions of a family cannot be told apart, all ranks take it for the same."""
    check_ids(stored(name)[0][0], zoo.files_in(FIXTURES / name, "model.safetensors"), 2)
