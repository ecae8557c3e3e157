"""Nothing is ignored in silence: what is ignored on purpose stands in the README."""

from pathlib import Path

import pytest

from unillm.runtime.server.anthropic.types import IGNORED as ANTHROPIC
from unillm.runtime.server.ollama.options import WITHOUT_EFFECT
from unillm.runtime.server.ollama.types import IGNORED as OLLAMA
from unillm.runtime.server.openai.types import IGNORED as OPENAI

README = Path(__file__).parents[3] / "README.md"


@pytest.mark.parametrize(("dialect", "fields"), [("OpenAI", OPENAI), ("Anthropic", ANTHROPIC), ("Ollama", OLLAMA)])
def test_what_is_ignored_on_purpose_stands_in_the_readme(dialect: str, fields: tuple[str, ...]) -> None:
    rows = [line for line in README.read_text("utf-8").splitlines() if line.startswith(f"| {dialect} |")]
    told = " ".join(row.split("|")[2] for row in rows)
    assert [field for field in fields if f"`{field}`" not in told] == []
    assert told.count("`") == 2 * len(fields)


def test_ollamas_options_without_effect_are_among_them() -> None:
    assert {name for name in OLLAMA if name.startswith("options.")} == {f"options.{name}" for name in WITHOUT_EFFECT}
