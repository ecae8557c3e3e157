"""`unillm show`: what is broken ends it with the reason, and `--architectures` lists what runs."""

import json
import re
from pathlib import Path

import pytest

from unillm.models.table import GGUF, HF
from unillm.tests.support.talking import CALLING, talking_model
from unillm.tests.support.tiny_models import gguf_file, original
from unillm.tests.unillm_cli.doors import Ran, run


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"UNILLM_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(gguf_file(tmp_path))
    return path


def show(environ: dict[str, str], *args: str) -> Ran:
    return run("show", *args, environ=environ)


def test_a_whole_file_is_shown(environ: dict[str, str], weights: Path) -> None:
    assert show(environ, str(weights)).code == 0


@pytest.mark.parametrize("keep", [0, 3, 20, 60, -1])
def test_a_truncated_file_is_an_error_with_its_reason(environ: dict[str, str], weights: Path, keep: int) -> None:
    weights.write_bytes(weights.read_bytes()[:keep])
    ran = show(environ, str(weights))
    assert (ran.code, ran.out) == (1, "")
    assert str(weights) in ran.err
    assert "Traceback" not in ran.err


def test_other_bytes_are_an_error_with_their_reason(environ: dict[str, str], weights: Path) -> None:
    weights.write_bytes(b"GGUF" + b"\xff" * 200)
    ran = show(environ, str(weights), "--json")
    assert (ran.code, ran.out) == (1, "")
    assert str(weights) in ran.err


def test_a_truncated_folder_is_an_error(environ: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in original().items():
        (folder / name).write_bytes(data[:-1] if name == "model.safetensors" else data)
    ran = show(environ, str(folder))
    assert ran.code == 1
    assert "model.safetensors" in ran.err


def test_an_installed_model_whose_file_shrank_is_shown_and_is_an_error(environ: dict[str, str], weights: Path) -> None:
    assert run("pull", str(weights), "--name", "tiny", environ=environ).code == 0
    assert show(environ, "tiny").code == 0
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:-4])
    ran = show(environ, "tiny")
    assert ran.code == 3
    assert "architecture  llama" in ran.out
    assert f"has {size - 4} bytes, not {size}" in ran.err


def test_what_a_model_can_is_told_in_ollamas_words(environ: dict[str, str], tmp_path: Path) -> None:
    plain, able = talking_model(tmp_path / "plain"), talking_model(tmp_path / "able", template=CALLING)
    tokenizer = json.loads((able / "tokenizer.json").read_text())
    marks = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]
    tokenizer["added_tokens"] += [
        {**tokenizer["added_tokens"][0], "id": 900 + n, "content": m} for n, m in enumerate(marks)
    ]
    (able / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert "capabilities  completion\n" in show(environ, str(plain)).out
    assert run("pull", str(able), "--name", "able", environ=environ).code == 0
    assert "capabilities  completion, tools, thinking, insert\n" in show(environ, "able").out
    assert json.loads(show(environ, "able", "--json").out)["capabilities"] == [
        "completion",
        "tools",
        "thinking",
        "insert",
    ]


def test_a_part_of_a_model_is_printed_alone(environ: dict[str, str], tmp_path: Path) -> None:
    recipe = tmp_path / "Modelfile"
    recipe.write_text(
        f"FROM {talking_model(tmp_path / 'plain')}\nSYSTEM Be brief\nPARAMETER temperature 0.5\nLICENSE MIT\n"
    )
    assert run("create", "brief", "-f", str(recipe), environ=environ).code == 0
    assert show(environ, "brief", "--system").out == "Be brief\n"
    assert show(environ, "brief", "--license").out == "MIT\n"
    assert show(environ, "brief", "--parameters").out.split() == ["temperature", "0.5"]
    assert json.loads(show(environ, "brief", "--system", "--json").out) == {"system": "Be brief"}
    assert "PARAMETER temperature 0.5" in show(environ, "brief", "--modelfile").out
    assert show(environ, str(tmp_path / "plain"), "--template").out == show(environ, "brief", "--template").out != ""
    assert show(environ, "brief", "--system", "--license").code == 2
    assert show(environ, "llama3:8b", "--system").code == 3


def test_the_architectures_are_a_table(environ: dict[str, str]) -> None:
    ran = show(environ, "--architectures")
    assert ran.code == 0
    rows = [re.split(" {2,}", line.strip()) for line in ran.out.splitlines()]
    assert rows[0] == ["ARCHITECTURE", "FAMILY", "FORMATS", "CACHE", "HELD TO"]
    assert ["LlamaForCausalLM", "Llama", "safetensors, pytorch", "pages", "transformers, llama.cpp"] in rows
    assert {row[0] for row in rows[1:]} == {*HF, *GGUF}
    listed = json.loads(show(environ, "--architectures", "--json").out)["architectures"]
    (found,) = [one for one in listed if one["name"] == "qwen3"]
    assert (found["family"], found["formats"], found["models"]) == ("Qwen3", ["gguf"], "Qwen 3")


def test_a_model_or_the_architectures(environ: dict[str, str]) -> None:
    assert show(environ).code == 2
    assert show(environ, "llama3:8b", "--architectures").code == 2


def test_a_row_of_the_catalogue_says_what_does_not_run(environ: dict[str, str]) -> None:
    assert "MllamaForConditionalGeneration, which unillm does not run" in show(environ, "llama3.2-vision").out
    assert json.loads(show(environ, "llama3:8b", "--json").out)["supported"] is True
