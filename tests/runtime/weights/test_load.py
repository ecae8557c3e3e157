"""From files to a model: what is wrong is said before a weight is touched."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from torch import Tensor

from unillm.models.contract import Format, Part, Placement, WeightMetadata
from unillm.models.errors import ConfigError, UnknownArchitecture
from unillm.registry.errors import FormatError
from unillm.registry.files import ModelFiles
from unillm.runtime.errors import NotEnoughMemory
from unillm.runtime.weights import load
from unillm.runtime.weights.load import build_model, open_weights

PLACE: Final = Placement(torch.device("cpu"), torch.float32)
LLAMA: Final = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "rms_norm_eps": 1e-5,
}


class Untouchable:
    """A loader whose tensors nobody may ask for."""

    def __init__(
        self, architecture: str, config: Mapping[str, Any], nbytes: int = 0, kind: Format = "safetensors"
    ) -> None:
        self.metadata = WeightMetadata(kind, architecture, config)
        self.nbytes = nbytes
        self.stored_dtype = torch.float32

    def tensor_names(self) -> list[str]:
        pytest.fail("the names of tensors were asked for")

    def has_tensor(self, name: str) -> bool:
        pytest.fail(f"{name} was asked for")

    def load_tensor(self, name: str, part: Part | None = None) -> Tensor:
        pytest.fail(f"{name}, {part} was asked for")

    def release(self, name: str) -> None:
        pytest.fail(f"{name} was given back")


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "available_memory", lambda _device: 3_000_000_000)
    with pytest.raises(NotEnoughMemory, match=r"tiny needs 8\.0 GB of memory; 3\.0 GB are available") as caught:
        build_model(Untouchable("LlamaForCausalLM", LLAMA, 8_000_000_000), PLACE, "tiny")
    assert (caught.value.needed, caught.value.available) == (8_000_000_000, 3_000_000_000)


def test_each_of_several_ranks_needs_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "available_memory", lambda _device: 3_000_000_000)
    place = Placement(torch.device("cpu"), torch.float32, rank=1, world=2)
    with pytest.raises(NotEnoughMemory) as caught:
        build_model(Untouchable("LlamaForCausalLM", LLAMA, 8_000_000_000), place, "tiny")
    assert caught.value.needed == 4_000_000_000


def test_memory_that_really_is_there_counts() -> None:
    with pytest.raises(NotEnoughMemory) as caught:
        build_model(Untouchable("LlamaForCausalLM", LLAMA, 1 << 60), PLACE, "tiny")
    assert 0 < caught.value.available < 1 << 60


def test_an_unknown_architecture_is_refused_first() -> None:
    with pytest.raises(UnknownArchitecture, match=r"^tiny: .*LlamaForCausalML"):
        build_model(Untouchable("LlamaForCausalML", {}, 1 << 60), PLACE, "tiny")


@pytest.mark.parametrize("hidden", [0, -64, 10**12, "64", None, True, float("nan"), float("inf")])
def test_an_impossible_configuration_is_refused_before_weights_are_touched(hidden: object) -> None:
    with pytest.raises(ConfigError, match=r"^tiny: hidden_size"):
        build_model(Untouchable("LlamaForCausalLM", {**LLAMA, "hidden_size": hidden}, 1 << 60), PLACE, "tiny")
    config = {"general.architecture": "llama", "llama.embedding_length": hidden}
    with pytest.raises(ConfigError, match=r"^tiny: llama"):
        build_model(Untouchable("llama", config, 1 << 60, "gguf"), PLACE, "tiny")


@pytest.mark.parametrize("kind", ["safetensors", "gguf", "pytorch"])
def test_a_file_of_another_format_is_called_by_its_right_name(tmp_path: Path, kind: Format) -> None:
    weights, config = tmp_path / "weights", tmp_path / "config.json"
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    config.write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(FormatError, match="git-lfs pointer"):
        open_weights(ModelFiles("tiny", kind, (weights,), {"config.json": config}))


def test_there_is_one_way_for_a_checkpoint_to_be_loaded() -> None:
    """And it lets nothing run; whoever adds another reads the container's checks first."""
    root = Path(__file__).parents[3]
    sources = [
        path for folder in ("models", "registry", "runtime", "unillm_cli") for path in (root / folder).rglob("*.py")
    ]
    loading = {path.name: path.read_text().count("torch.load(") for path in sources}
    assert {name: count for name, count in loading.items() if count} == {"pytorch.py": 1}
    for path in sources:
        text = path.read_text()
        assert not re.search(r"pickle\.loads?\(|marshal|Unpickler\(|weights_only=False|jit\.load", text), path
