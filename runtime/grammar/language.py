"""What an answer must look like, in the words of the grammar library."""

from typing import Final

from llguidance import LLMatcher, grammar_from

from .forms import Form

# Between the parts of JSON: a space, or a new line and its indent. Unbounded, a model at a loss writes only these.
SPACE: Final = r" |\n[ \t]{0,32}"


def in_lark(form: Form) -> str:
    """Raises `InvalidParameter` where that can be seen to be impossible."""
    try:
        return _translated(form)
    except ValueError as error:
        raise form.refused(str(error)) from None


def _translated(form: Form) -> str:
    match form.field:
        case "schema":
            return LLMatcher.grammar_from_json_schema(form.text, overrides={"whitespace_pattern": SPACE})
        case "regex":
            return LLMatcher.grammar_from_regex(form.text)
        case "choice":
            return grammar_from("choice", form.text)
        case "grammar":
            return grammar_from("grammar", form.text)
