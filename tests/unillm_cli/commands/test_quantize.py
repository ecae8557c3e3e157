"""`unillm quantize` and `unillm bench compare`: files that are written, and words that cannot be."""

import json
from pathlib import Path

import pytest

from unillm.runtime.bench.synthetic import synthetic_model
from unillm.tests.unillm_cli.doors import run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return synthetic_model("qwen3-tiny", "bf16", tmp_path, lambda *_: None)


def test_a_smaller_file_is_written_and_is_a_model_of_that_name(model: Path, tmp_path: Path) -> None:
    target, home = tmp_path / "small.gguf", {"UNILLM_HOME": str(tmp_path / "home")}
    words = ("--to", "Q4_K_M", "-o", str(target), "--name", "small:q4", "--json")
    code, out, err = run("quantize", str(model), *words, environ=home)
    assert code == 0, err
    assert json.loads(out)["size"] == target.stat().st_size < model.stat().st_size / 2
    assert "small:q4" in run("models", environ=home).out


def test_a_file_that_is_there_is_not_overwritten(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.gguf"
    target.write_text("mine")
    code, _, err = run("quantize", str(model), "-o", str(target))
    assert code != 0
    assert "is there already" in err
    assert target.read_text() == "mine"


def test_a_kind_that_is_not_there_is_named(model: Path) -> None:
    code, _, err = run("quantize", str(model), "--to", "q3")
    assert code == 2
    assert "q4_k_m" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--synthetic"),
        (("--synthetic", "gpt-9"), "qwen3-0.6b"),
        (("--synthetic", "qwen3-tiny", "--test", "speed"), "decode"),
        (("--synthetic", "qwen3-tiny", "--peer", "abacus"), "llama.cpp"),
    ],
)
def test_a_comparison_of_what_is_not_there_says_what_is(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    code, _, err = run("bench", "compare", *words, environ={"XDG_CACHE_HOME": str(tmp_path)})
    assert code == 2
    assert said in err
