"""What an answer must look like, in the words of the grammar library."""

from llguidance import LLMatcher, grammar_from

from .forms import Form


def in_lark(form: Form) -> str:
    """Raises `InvalidParameter` where that can be seen to be impossible."""
    match form.field:
        case "schema":
            return LLMatcher.grammar_from_json_schema(form.text)
        case "regex":
            return LLMatcher.grammar_from_regex(form.text)
        case "choice":
            return grammar_from("choice", form.text)
        case "grammar":
            return _of_either(form)


def _of_either(form: Form) -> str:
    try:
        return grammar_from("grammar", form.text)
    except ValueError as error:
        raise form.refused(str(error)) from None
