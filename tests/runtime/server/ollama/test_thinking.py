"""Thoughts are told apart from words wherever the text is cut."""

import pytest

from unillm.runtime.server.ollama.thinking import Thoughts

ANSWERS = {
    "<think>\nWhat is 2+2? Four.\n</think>\n\nIt is 4.": ("What is 2+2? Four.", "It is 4."),
    "\n<think>a < b</think>so": ("a < b", "so"),
    "No thought <think>here</think>": ("", "No thought <think>here</think>"),
    "  indented": ("", "  indented"),
    "<think></think>said": ("", "said"),
    "<thin": ("", "<thin"),
    "<think>never ended </thi": ("never ended </thi", ""),
    "": ("", ""),
}


def read(text: str, size: int, *, inside: bool = False) -> tuple[str, str]:
    thoughts = Thoughts(inside=inside)
    parts = [thoughts.push(text[at : at + size]) for at in range(0, len(text), size)] + [thoughts.finish()]
    return "".join(thought for thought, _ in parts), "".join(said for _, said in parts)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("text", list(ANSWERS))
def test_a_thought_comes_apart_from_what_is_said(text: str, size: int) -> None:
    assert read(text, size) == ANSWERS[text]


@pytest.mark.parametrize("size", [1, 5, 100])
def test_a_thought_that_the_prompt_opened_has_only_an_end(size: int) -> None:
    assert read("\nHm.\n</think>\n\nYes.", size, inside=True) == ("Hm.", "Yes.")
