"""What an answer must look like, in the words of the grammar library, and compiled by it."""

from typing import Final

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, grammar_from

from .forms import Form

# Between the parts of JSON: a space, or a new line and its indent. Unbounded, a model at a loss writes only these.
SPACE: Final = r" |\n[ \t]{0,32}"


# By its makers' measure a step costs at most 15 ms of the lexer's and 1 ms of the parser's, and a state 2 kB.
LIMITS: Final = LLParserLimits(
    step_lexer_fuel=200_000,
    step_max_items=20_000,
    max_lexer_states=50_000,
    max_grammar_size=100_000,
    verbose_errors=False,
)


def compiled(form: Form, tokens: LLTokenizer) -> LLMatcher:
    """Raises `InvalidParameter` where nothing can be held to `form`."""
    matcher = LLMatcher(tokens, in_lark(form), log_level=0, limits=LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()  # what the first step needs is worked out here, once for all
    if matcher.is_error():
        raise form.refused(_reason(matcher.get_error()))
    return matcher


def _reason(error: str) -> str:
    """What the library says is wrong, in words for who wrote the form."""
    return "nothing can match it" if "NoExtensionBias" in error else error.removesuffix("<non-verbose/>").rstrip()


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
