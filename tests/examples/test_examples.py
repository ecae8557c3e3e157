"""The examples run as they stand, each in a process of its own."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from unillm.tests.support.talking import talking_model

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking_model(tmp_path_factory.mktemp("talking"))


def ran(example: str, *args: str, stdin: str = "") -> str:
    command = [sys.executable, "-W", "error", str(HERE / example), *args]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run_here() -> None:
    tested = Path(__file__).read_text()
    examples = [path.name for path in HERE.glob("*.py") if not path.name.startswith("test_")]
    assert len(examples) == 4
    assert [name for name in examples if f'ran("{name}"' not in tested] == []


def test_stream(model: Path) -> None:
    out = ran("stream.py", str(model), "Once")
    assert re.search(r"\[\d+ tokens, \d+\.\d a second\]\n$", out)


def test_conversation(model: Path) -> None:
    out = ran("conversation.py", str(model), "What is gravity?", "And mass?")
    read = [tuple(map(int, pair)) for pair in re.findall(r"\[(\d+) tokens read, (\d+) of them from the cache\]", out)]
    (first, of_first), (second, of_second) = read
    assert second > first
    assert of_first == 0 < of_second


def test_together(model: Path) -> None:
    out = ran("together.py", str(model), "Name a colour of this fruit, one word only.", stdin="apple\npear\nplum\n")
    assert len(re.findall(r"^(apple|pear|plum) -> ", out, re.MULTILINE)) == 6
    shared = re.search(r"(\d+) of (\d+) prompt tokens were shared", out)
    assert shared is not None
    assert int(shared[2]) > 0


def test_perplexity_is_that_of_the_reference(model: Path) -> None:
    text = "The quick brown fox jumps over the lazy dog."
    out = ran("perplexity.py", str(model), text)
    found = re.search(r"perplexity ([\d.]+) over (\d+) tokens", out)
    assert found is not None
    ids = AutoTokenizer.from_pretrained(model)(text, return_tensors="pt").input_ids
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        loss = float(reference(ids, labels=ids).loss)
    assert int(found[2]) == ids.shape[1] - 1
    assert float(found[1]) == pytest.approx(math.exp(loss), rel=1e-3)
