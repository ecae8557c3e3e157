"""What a Mac's GPU would be asked for, on a CPU: plain torch serves every operation, none of them is one that torch has
not got there, no number is wider than it knows, and answers are those of the CPU's kernels.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torchgen  # type: ignore[import-untyped]
import yaml  # type: ignore[import-untyped]
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from unillm.models import ops
from unillm.models.contract import Model, Placement
from unillm.models.ops import scans
from unillm.models.ops.table import Table
from unillm.runtime import drawing, sampler
from unillm.runtime.device import choose_dtype, choose_kv_dtype, devices, find_device
from unillm.runtime.engine import Engine
from unillm.runtime.errors import DeviceNotFound
from unillm.runtime.kv.memory import grows
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.weights.load import load_model
from unillm.tests.models.zoo import BY_NAME, EXACT, TOLERANCE, prompt, reference, save
from unillm.tests.runtime.engines import greedy

MPS = torch.device("mps:0")
UNKNOWN = frozenset((torch.float64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2))
ON_THE_HOST = frozenset(("lift_fresh", "clamp"))  # penalties, which cross in the numbers of the scores
CHOICES = [
    greedy(12),
    SamplingParams(seed=1, max_tokens=12),
    SamplingParams(seed=2, temperature=1.5, top_p=0.9, max_tokens=12),
    SamplingParams(seed=3, top_k=4, repetition_penalty=1.3, max_tokens=12),
    SamplingParams(seed=4, min_p=0.05, logprobs=3, max_tokens=12),
    SamplingParams(seed=5, typical_p=0.7, presence_penalty=0.8, prompt_logprobs=0, max_tokens=12),
]


@cache
def implemented() -> frozenset[str]:
    """Operations that torch's own table has for this device, or for every device."""
    table = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries = {entry["func"].split("(")[0]: entry for entry in yaml.load(table.read_text(), Loader=loader)}
    return frozenset(name for name, entry in entries.items() if _is_there(entry, entries))


def _is_there(entry: dict[str, Any], entries: dict[str, dict[str, Any]]) -> bool:
    if "structured_delegate" in entry:
        return _is_there(entries[entry["structured_delegate"]], entries)
    keys = {key.strip() for keys in entry.get("dispatch", {"Composite": ""}) for key in keys.split(",")}
    return any(key == "MPS" or key.startswith("Composite") for key in keys)


class AsOnMps(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what a device would be asked for that it has not got."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.missing: set[str] = set()
        self.calls = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, given: Sequence[Any] = (), named: dict[str, Any] | None = None
    ) -> Any:
        result = function(*given, **(named or {}))
        self.calls += 1
        name = function._schema.name.removeprefix("aten::")
        full = f"{name}.{function._schema.overload_name}".rstrip(".")
        if full not in implemented():
            self.missing.add(full)
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(one, Tensor) and one.dtype in UNKNOWN and full not in ON_THE_HOST:
                self.missing.add(f"{one.dtype} of {full}")
        return result


@pytest.fixture
def _as_on_mps(monkeypatch: pytest.MonkeyPatch) -> Iterator[AsOnMps]:
    """Tensors of the CPU, taken for a Mac's."""
    for module in (ops, scans):
        monkeypatch.setattr(module, "place_of", lambda *_: "mps")
    for module in (drawing, sampler):
        monkeypatch.setattr(module, "finest", lambda _: torch.float32)
    with AsOnMps() as device:
        yield device


def engine_of(model: Model) -> Engine:
    return Engine(
        model, options=EngineOptions(kv_memory=1 << 21, page_size=8, batch_tokens=24, sequences=4, kv_dtype="fp32")
    )


NAMES = ["llama3.2", "mistral0.1", *(pytest.param(one, marks=pytest.mark.slow) for one in ("gpt2", "qwen3", "bloom"))]


@pytest.mark.parametrize("name", NAMES)
def test_the_engine_says_what_it_says_with_the_cpus_kernels_by_operations_that_are_there(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if EXACT.kernels is None:
        pytest.skip("the CPU kernels are not built here")
    row = BY_NAME[name]
    files = save(reference(row), tmp_path)
    asked = [prompt(row, 20 + 3 * seed, seed) for seed in range(len(CHOICES))]
    with engine_of(load_model(files, EXACT)) as engine:
        scores, expected = engine.logits(asked[0]), engine.generate(asked[0], greedy(20))
    model = load_model(files, Placement(torch.device("cpu"), torch.float32))
    device: AsOnMps = request.getfixturevalue("_as_on_mps")
    with engine_of(model) as engine:
        got = engine.logits(asked[0])
        assert (got - scores).abs().max() <= TOLERANCE * scores.abs().max()
        assert engine.generate(asked[0], greedy(20)).token_ids == expected.token_ids
        done = engine.generate(asked, CHOICES)
        assert [one.error for one in done] == [None] * len(CHOICES)
    assert device.calls > 1000
    assert device.missing == set()


def test_every_table_has_plain_torch_for_it() -> None:
    tables = [value for module in (ops, scans) for value in vars(module).values() if isinstance(value, Table)]
    assert len(tables) > 5
    for table in tables:
        kinds = {kind for entry in table.entries for kind in entry.kinds or ("any",)}
        for kind in kinds - {"tiles16"}:  # which the CPU's kernels alone are given
            chosen = [entry for entry in table.entries if entry.serves(kind, "mps", 1)]
            assert chosen, kind
            assert all(entry.devices is None for entry in chosen)


def test_it_computes_in_halves_and_takes_its_cache_at_once() -> None:
    assert choose_dtype("auto", torch.float16, MPS) is torch.float16
    assert choose_dtype("auto", torch.float32, MPS) is torch.bfloat16
    assert choose_kv_dtype("auto", torch.bfloat16, MPS) is torch.bfloat16
    assert not grows(MPS)


def test_where_there_is_none_it_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert find_device("mps") == torch.device("mps")
    assert "mps" in devices()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceNotFound, match="no device 'mps' here"):
        Engine.load("nothing", device="mps")
