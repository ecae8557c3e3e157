"""What a text process makes of a question before an engine sees it: bounds, what is usual, what was said before."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unillm.registry.names import ModelRef
from unillm.registry.sources.local import files_in_place
from unillm.runtime.errors import PromptTooLong
from unillm.runtime.hosting.asking import Ask
from unillm.runtime.ipc.text_process import bounded, chosen, fitted, read_prompt
from unillm.runtime.params import SamplingParams
from unillm.runtime.text.prompting import Prompting
from unillm.runtime.text.template import ChatTemplate
from unillm.runtime.text.tokenizer import load_tokenizer
from unillm.tests.support.talking import talking_model

SAID = [{"role": "user", "content": "ab"}]
USUAL = {"temperature": 0.8, "top_k": 40}


@pytest.fixture(scope="module")
def prompting(tmp_path_factory: pytest.TempPathFactory) -> Prompting:
    folder: Path = talking_model(tmp_path_factory.mktemp("m"))
    files = files_in_place(ModelRef.parse(str(folder)))
    return Prompting("m", load_tokenizer(files), ChatTemplate.find(files), 512)


def text(prompting: Prompting, **fields: Any) -> tuple[str, int]:
    ask = Ask(model="m", **fields)
    ids, gone = read_prompt(bounded(prompting, ask), ask)
    return prompting.reader.decode(ids, skip_special=False), gone


def test_a_prompt_goes_on_with_what_was_said_before(prompting: Prompting) -> None:
    before = prompting.reader.encode("<s>x", special=True, bos=False)
    assert text(prompting, messages=SAID, before=before) == ("<s>x<|user|>ab</s><|assistant|>", 0)


def test_what_was_said_before_goes_first_where_both_do_not_fit(prompting: Prompting) -> None:
    before = prompting.reader.encode("<s>" + "x" * 20, special=True, bos=False)
    fields: dict[str, Any] = {"messages": SAID, "before": before, "context": 16}
    assert text(prompting, **fields, truncate=True) == ("x" * 10 + "<|user|>ab</s><|assistant|>", 11)
    with pytest.raises(PromptTooLong):
        text(prompting, **fields)


def test_a_template_of_the_question_takes_the_place_of_the_models(prompting: Prompting) -> None:
    assert text(prompting, messages=SAID, template="{{ messages[0].content }}!") == ("ab!", 0)


def test_text_beside_messages_is_for_models_without_a_template(prompting: Prompting) -> None:
    bare = Prompting("m", prompting.tokenizer, None, 512)
    assert text(bare, messages=SAID, text="plain") == ("plain", 0)
    assert text(prompting, messages=SAID, text="plain")[0].startswith("<s><|user|>")


def test_a_context_of_the_question_bounds_prompt_and_answer(prompting: Prompting) -> None:
    ask = Ask(model="m", text="x" * 10, context=32)
    assert bounded(prompting, ask).context == 32
    assert fitted(ask, 10, 32).max_tokens == 22
    assert bounded(prompting, Ask(model="m", text="x", context=9999)).context == 512
    assert fitted(Ask(model="m", text="x"), 10, 32).max_tokens is None


@pytest.mark.parametrize(
    ("asked", "stated", "together", "wanted"),
    [
        ({}, {}, False, (0.8, 40)),
        ({}, {}, True, (0.8, 40)),
        ({"temperature": 0.1}, {}, False, (0.1, 40)),
        ({"temperature": 0.1}, {}, True, (0.1, None)),
        ({}, {"temperature": 0.6}, True, (None, None)),  # the engine puts in what the model states
        ({}, {"temperature": 0.6}, False, (None, 40)),
        ({}, {"top_k": 7}, True, (0.8, None)),
    ],
)
def test_what_is_usual_counts_where_nobody_chooses(
    asked: dict[str, Any], stated: dict[str, Any], together: bool, wanted: tuple[float | None, int | None]
) -> None:
    ask = Ask(model="m", text="x", params=SamplingParams(**asked), usual=USUAL, usual_together=together)
    params = chosen(ask, stated).params
    assert (params.temperature, params.top_k) == wanted


def test_a_fault_of_its_own_ends_the_process_and_is_told() -> None:
    """Whatever thread it comes up in: what nobody is told of, somebody would wait for."""
    job = "from unillm.runtime.ipc.text_process import TextProcess; TextProcess()._now(lambda: [][0])"
    done = subprocess.run([sys.executable, "-c", job], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "IndexError" in done.stderr
