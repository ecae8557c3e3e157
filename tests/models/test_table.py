"""Architectures are found by their names, and near misses are named."""

import subprocess
import sys
from pathlib import Path

import pytest

from unillm.models.contract import LatentLayer, Model
from unillm.models.errors import UnknownArchitecture
from unillm.models.families import FAMILIES
from unillm.models.table import GGUF, HF, architectures, find, is_known
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo


@pytest.mark.parametrize("name", HF)
def test_every_line_leads_to_a_model(name: str) -> None:
    assert issubclass(find(name, "safetensors"), Model)
    assert find(name, "safetensors") is find(name, "pytorch")


@pytest.mark.parametrize("name", GGUF)
def test_every_line_for_gguf_leads_to_a_model(name: str) -> None:
    assert issubclass(find(name, "gguf"), Model)


def test_an_unknown_architecture_is_refused_with_near_ones() -> None:
    with pytest.raises(UnknownArchitecture) as caught:
        find("Llama2ForCausalLM", "safetensors")
    assert "LlamaForCausalLM" in caught.value.near
    assert "Llama2ForCausalLM" in str(caught.value)


def test_names_of_one_format_are_not_those_of_another() -> None:
    with pytest.raises(UnknownArchitecture):
        find("llama", "safetensors")


def test_an_architecture_like_no_other_has_no_near_ones() -> None:
    with pytest.raises(UnknownArchitecture) as caught:
        find("\x1b[31m", "gguf")
    assert caught.value.near == []
    assert caught.value.hint is None


def test_the_table_can_be_listed_without_torch() -> None:
    script = (
        "import sys; from unillm.models.table import architectures as rows; print(len(rows()), 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(len(HF) + len(GGUF)), "False"]


def test_of_every_family_that_runs_something_is_said_and_of_no_other() -> None:
    assert {row.family for row in architectures()} == FAMILIES.keys()


def test_who_lacks_gguf_has_no_name_there() -> None:
    in_gguf = {row.family for row in architectures() if "gguf" in row.formats}
    assert not any("GGUF" in family.lacking for name, family in FAMILIES.items() if name in in_gguf)


@pytest.mark.slow
@pytest.mark.parametrize("row", zoo.ROWS, ids=lambda row: row.name)
def test_what_is_said_of_caches_is_so(row: zoo.Row, tmp_path: Path) -> None:
    """What may have windows need not, in each of its models."""
    model = load_model(zoo.save(zoo.reference(row), tmp_path), zoo.PLACE)
    said, spec = FAMILIES[type(model).__name__].cache, model.cache_spec()
    assert ("states" in said) == bool(spec.recurrent)
    assert ("latents" in said) == any(isinstance(layer, LatentLayer) for layer in spec.layers)
    if any(layer.window for layer in spec.paged):
        assert "windows" in said or "chunks" in said


def test_a_listed_architecture_is_known_in_its_formats() -> None:
    for row in architectures():
        assert row.family
        assert all(is_known(row.name, kind) for kind in row.formats)
    assert not is_known("llama", "safetensors")
