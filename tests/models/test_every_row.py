"""What every row of the zoo, and every fixture, does besides computing what its reference does: in bf16, from all
containers of weights, and from a GGUF in Q8_0.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from numpy.typing import NDArray

from unillm.models.contract import Placement
from unillm.models.quantized import QuantizedTensor
from unillm.registry.files import ModelFiles
from unillm.runtime.weights.load import load_model
from unillm.tests.models import (
    dense_gguf,
    recurrent_gguf,
    test_dense_gguf,
    test_mamba,
    test_published_gguf,
    test_recurrent_gguf,
    test_rwkv,
    zoo,
)
from unillm.tests.models.cases import CASES, Case, rewrite
from unillm.tests.models.gguf_files import write_gguf
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import PLACE, distance

pytestmark = pytest.mark.slow

HALF = Placement(torch.device("cpu"), torch.bfloat16)


def apart(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each
def test_in_bf16_it_stays_finite_and_near(case: Case, tmp_path: Path) -> None:
    model = case.load(case.save(tmp_path, torch.bfloat16), HALF)
    logits = Pages(model).whole(case.ids)
    assert logits.isfinite().all()
    assert apart(logits, case.scores) <= 0.1


@each
def test_all_containers_of_weights_hold_the_same(case: Case, tmp_path: Path) -> None:
    files = case.save(tmp_path)
    wanted = Pages(case.load(files, PLACE)).whole(case.ids)
    assert distance(wanted, case.scores) <= zoo.TOLERANCE
    for way in ("bin", "old bin", "shards of bin", "shards of safetensors"):
        (tmp_path / way).mkdir()
        logits = Pages(case.load(rewrite(files, tmp_path / way, way), PLACE)).whole(case.ids)
        assert distance(logits, wanted) <= zoo.TOLERANCE / 10


def plain(row: zoo.Row, folder: Path) -> ModelFiles:
    return write_gguf(row, folder, "F32").files


def mamba(row: zoo.Row, folder: Path) -> ModelFiles:
    test_mamba.write(row, zoo.reference(row), folder / "model.gguf")
    return zoo.files_in(folder, "model.gguf", kind="gguf")


def of_rwkv(case: Case, folder: Path) -> ModelFiles:
    return test_rwkv.write(case.name, folder)


def of_fixture(case: Case, folder: Path) -> ModelFiles:
    return test_published_gguf.fixture(case.name, folder)


def written_of(write: Callable[[zoo.Row, Path], ModelFiles]) -> Callable[[Case, Path], ModelFiles]:
    def by_row(case: Case, folder: Path) -> ModelFiles:
        assert case.row is not None
        return write(case.row, folder)

    return by_row


WRITTEN: list[tuple[Case, Callable[[Case, Path], ModelFiles]]] = [
    *((Case(row.name, row), written_of(plain)) for row in zoo.ROWS if row.gguf),
    *((Case(row.name, row), written_of(dense_gguf.write)) for row in test_dense_gguf.ROWS),
    *((Case(row.name, row), written_of(recurrent_gguf.write)) for row in test_recurrent_gguf.ROWS),
    *((Case(name, zoo.BY_NAME[name]), written_of(mamba)) for name in ("mamba", "falcon-mamba")),
    *((Case(row.name, row), written_of(test_published_gguf.of_row)) for row in test_published_gguf.ROWS),
    *((Case(name), of_fixture) for name in test_published_gguf.NAMES),
    *((Case(name), of_rwkv) for name in test_rwkv.NAMES),
]


@pytest.mark.parametrize(("case", "write"), [pytest.param(*pair, id=pair[0].name) for pair in WRITTEN])
def test_a_gguf_in_q8_0_computes_with_its_numbers_and_is_near(
    case: Case, write: Callable[[Case, Path], ModelFiles], tmp_path: Path
) -> None:
    """Its very numbers in F32 give the same. To round them moves some tokens to other experts, and adds up."""
    files = write(case, tmp_path)
    whole, packed, unpacked = (load_model(each, PLACE) for each in (files, *repacked(files, tmp_path)))
    assert any(isinstance(weight, QuantizedTensor) for weight in packed.weights())
    ids = case.ids
    logits = Pages(packed).whole(ids)
    assert distance(logits, Pages(unpacked).whole(ids)) <= zoo.TOLERANCE
    assert apart(logits, Pages(whole).whole(ids)) <= 0.15


def repacked(files: ModelFiles, folder: Path) -> list[ModelFiles]:
    """The same file with its matrices in Q8_0 where they have whole blocks, and with these numbers in F32. Routers and
    convolutions stay as they are, as in published files.
    """
    reader = gguf.GGUFReader(files.weights[0])
    made = []
    for name, packs in (("packed", True), ("unpacked", False)):
        (folder / name).mkdir()
        writer = gguf.GGUFWriter(folder / name / "model.gguf", reader.fields["general.architecture"].contents())
        for key, field in reader.fields.items():
            if not key.startswith("GGUF.") and key != "general.architecture":
                writer.add_key_value(key, field.contents(), field.types[0], field.types[-1])
        for tensor in reader.tensors:
            numbers, kind = _in_blocks(tensor.name, np.asarray(tensor.data))
            plain = numbers if packs else gguf.quants.dequantize(numbers, kind)
            writer.add_tensor(tensor.name, plain, raw_dtype=kind if packs else Kind.F32)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        made.append(zoo.files_in(folder / name, "model.gguf", kind="gguf"))
    return made


def _in_blocks(name: str, numbers: NDArray[np.float32]) -> tuple[NDArray[Any], Kind]:
    if numbers.ndim < 2 or numbers.shape[-1] % 32 or "_inp" in name or "conv" in name:
        return numbers, Kind.F32
    return gguf.quants.quantize(numbers, Kind.Q8_0), Kind.Q8_0
