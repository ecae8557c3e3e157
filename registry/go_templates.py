"""Chat templates in the language of Ollama (Go): told from Jinja, and turned into it where they are known.

One that is not known is never guessed at. Either the model has a template of its own, or the user hears why there is
none: a conversation is never sent without.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from .formats.gguf import GGUFValue

TABLE = Path(__file__).with_name("go_templates.toml")

_ACTION = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
_GO_WORDS = re.compile(r"(\.|\$|/\*|(if|else|end|range|with|template|define|block|slice|index|break|and|or|not|eq)\b)")
_BOS = "{% if bos_token is defined and bos_token %}{{ bos_token }}{% endif %}"


def is_go(template: str) -> bool:
    """Whether it is written in Go's language and not in Jinja."""
    return "{%" not in template and any(_GO_WORDS.match(action[1]) for action in _ACTION.findall(template))


def is_template(template: str) -> bool:
    """Whether it has a place for the conversation at all."""
    return "{{" in template or "{%" in template


def known_jinja(template: str, *, bos: bool) -> str | None:
    """The Jinja of a Go template that is known; `bos`: the tokenizer wants a beginning-of-text token."""
    jinja = _known().get(_normal(template))
    return None if jinja is None else (_BOS if bos else "") + jinja


def wants_bos(own_template: str | None, metadata: Mapping[str, GGUFValue]) -> bool:
    """Whether a conversation begins with that token: as the model's own template has it, else as its tokenizer says."""
    if own_template is not None:
        return "bos_token" in own_template
    stated = metadata.get("tokenizer.ggml.add_bos_token")
    return stated if isinstance(stated, bool) else metadata.get("tokenizer.ggml.model") == "llama"


@cache
def _known() -> Mapping[str, str]:
    rows = tomllib.loads(TABLE.read_text("utf-8"))
    return {_normal(go): row["jinja"] for row in rows.values() for go in row["go"]}


def _normal(template: str) -> str:
    """The template in the one spelling that is compared."""
    return _ACTION.sub(
        lambda found: f"{{{{{found[1]} {found[2]} {found[3]}}}}}", template.replace("\r\n", "\n")
    ).strip()
