"""Weights stay in their files: what a process has to itself after loading is little, whatever was read."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest
import torch

from unillm.tests.registry.formats.gguf_bytes import GGUFBytes, tensor, text_key

MATRICES, ROWS, COLUMNS = 25, 2048, 2048  # of two bytes a number: 200 MB

# Loads every tensor, reads all of it, and prints the bytes of memory that are this process's own and no file's. (What
# the system calls private and dirty would count the file too, while it is not yet written to the disk.)
MEASURE = """
import json, sys
from pathlib import Path
import torch
from unillm.models.quantized import QuantizedTensor
from unillm.registry.files import ModelFiles
from unillm.runtime.weights.load import open_weights

def own():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Anonymous:", "Swap:")))

def read(weight):
    data = weight.data if isinstance(weight, QuantizedTensor) else weight
    return int(data.view(torch.uint8).flatten()[::4096].sum(dtype=torch.int64))

kind, path = sys.argv[1], Path(sys.argv[2])
torch.ones(8, 8) @ torch.ones(8, 8)
before = own()
weights = open_weights(ModelFiles("tiny", kind, (path,), {"config.json": path.parent / "config.json"}))
held = [weights.load_tensor(name) for name in weights.tensor_names()]
total = sum(read(weight) for weight in held)
print(json.dumps([own() - before, path.stat().st_size, len(held), total]))
"""


def write_safetensors(folder: Path, dtype: str) -> Path:
    path, nbytes = folder / "model.safetensors", ROWS * COLUMNS * (4 if dtype == "F32" else 2)
    matrices = MATRICES * 2 * ROWS * COLUMNS // nbytes
    header = json.dumps(
        {
            f"model.layers.{index}.weight": {
                "dtype": dtype,
                "shape": [ROWS, COLUMNS],
                "data_offsets": [index * nbytes, (index + 1) * nbytes],
            }
            for index in range(matrices)
        }
    ).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(pack("<Q", len(header)) + header)
    return fill(path, matrices * nbytes)


def write_gguf(folder: Path, kind: int, row_bytes: int) -> Path:
    path, nbytes = folder / "model.gguf", ROWS * row_bytes
    count = MATRICES * ROWS * COLUMNS * 2 // nbytes
    entries = [tensor(f"blk.{index}.weight", [COLUMNS, ROWS], kind, index * nbytes) for index in range(count)]
    header = bytes(GGUFBytes([text_key("general.architecture", "llama")], entries))
    path.write_bytes(header + bytes(-len(header) % 32))
    return fill(path, count * nbytes)


def write_checkpoint(folder: Path) -> Path:
    path = folder / "pytorch_model.bin"
    torch.save({f"{index}.weight": torch.ones(ROWS, COLUMNS, dtype=torch.bfloat16) for index in range(MATRICES)}, path)
    return path


def fill(path: Path, count: int) -> Path:
    """Append bytes that are not zero, so that their pages are really the file's."""
    with path.open("ab") as file:
        for start in range(0, count, 1 << 20):
            file.write(b"\x3c" * min(1 << 20, count - start))
    return path


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="this system does not tell which pages a process has to itself"
)
@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("safetensors", lambda folder: write_safetensors(folder, "BF16")),
        ("safetensors", lambda folder: write_safetensors(folder, "F32")),
        ("gguf", lambda folder: write_gguf(folder, 1, 2 * COLUMNS)),
        ("gguf", lambda folder: write_gguf(folder, 2, COLUMNS // 32 * 18)),
        ("pytorch", write_checkpoint),
    ],
    ids=["safetensors BF16", "safetensors F32", "GGUF F16", "GGUF Q4_0", "zip checkpoint"],
)
def test_private_memory_after_loading_is_below_a_tenth_of_the_file(
    tmp_path: Path, kind: str, write: Callable[[Path], Path]
) -> None:
    path = write(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    command = [sys.executable, "-c", MEASURE, kind, str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    private, size, count, total = json.loads(answer.stdout)
    path.unlink()
    assert size > 190_000_000
    assert count >= MATRICES // 2
    assert total > 0
    assert private < size / 10
