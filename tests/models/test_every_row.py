"""What every row of the zoo does besides computing what its reference does: in bf16, and from a GGUF in Q8_0."""

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
from unillm.tests.models import dense_gguf, recurrent_gguf, test_dense_gguf, test_mamba, test_recurrent_gguf, zoo
from unillm.tests.models.gguf_files import write_gguf
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import PLACE, distance

pytestmark = pytest.mark.slow

HALF = Placement(torch.device("cpu"), torch.bfloat16)


def apart(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("row", zoo.ROWS, ids=lambda row: row.name)
def test_in_bf16_it_stays_finite_and_near(row: zoo.Row, tmp_path: Path) -> None:
    model = load_model(zoo.save(zoo.rounded(zoo.reference(row), torch.bfloat16), tmp_path), HALF)
    logits = Pages(model).whole(zoo.prompt(row))
    assert logits.isfinite().all()
    assert apart(logits, zoo.expected(zoo.reference(row), zoo.prompt(row), stepwise=row.stepwise)) <= 0.1


def plain(row: zoo.Row, folder: Path) -> ModelFiles:
    return write_gguf(row, folder, "F32").files


def mamba(row: zoo.Row, folder: Path) -> ModelFiles:
    test_mamba.write(row, zoo.reference(row), folder / "model.gguf")
    return zoo.files_in(folder, "model.gguf", kind="gguf")


WRITTEN: list[tuple[zoo.Row, Callable[[zoo.Row, Path], ModelFiles]]] = [
    *((row, plain) for row in zoo.ROWS if row.gguf),
    *((row, dense_gguf.write) for row in test_dense_gguf.ROWS),
    *((row, recurrent_gguf.write) for row in test_recurrent_gguf.ROWS),
    *((zoo.BY_NAME[name], mamba) for name in ("mamba", "falcon-mamba")),
]


@pytest.mark.parametrize(("row", "write"), [pytest.param(*pair, id=pair[0].name) for pair in WRITTEN])
def test_a_gguf_in_q8_0_computes_with_its_numbers_and_is_near(
    row: zoo.Row, write: Callable[[zoo.Row, Path], ModelFiles], tmp_path: Path
) -> None:
    """Its very numbers in F32 give the same. To round them moves some tokens to other experts, and adds up."""
    files = write(row, tmp_path)
    whole, packed, unpacked = (load_model(each, PLACE) for each in (files, *repacked(files, tmp_path)))
    assert any(isinstance(weight, QuantizedTensor) for weight in packed.weights())
    ids = zoo.prompt(row)
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
