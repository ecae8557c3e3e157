"""What an answer must look like: a JSON schema, a regular expression, one of some texts, or a grammar.

All of it is plain text, as it travels between processes. It knows neither tokens nor the library that compiles it: what
can be seen to be none of these things is refused here, before anybody computes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from ..errors import InvalidParameter

Field: TypeAlias = Literal["schema", "regex", "choice", "grammar"]

LONGEST: Final = 1 << 18  # characters: a form of more is a slip or an attack
MOST_CHOICES: Final = 4096
SHOWN: Final = 60  # characters of a form in an error's message


@dataclass(frozen=True, slots=True)
class Form:
    """`text` as the parameter called `field` means it; of a choice it is a JSON list."""

    field: Field
    text: str

    def refused(self, why: str) -> InvalidParameter:
        """The error that says why no answer can be held to this."""
        return InvalidParameter(self.field, shortened(self.text), f"{_KINDS[self.field]}: {why}")


def read_form(schema: str | None, regex: str | None, choice: Sequence[str], grammar: str | None) -> Form | None:
    """The one that is given, None where none is. Raises `InvalidParameter` where several are."""
    given = {"schema": schema, "regex": regex, "choice": choice_text(choice), "grammar": grammar}
    forms = [Form(field, text) for field in _KINDS if (text := given[field]) is not None]
    if len(forms) > 1:
        names = " and ".join(form.field for form in forms)
        raise InvalidParameter(forms[1].field, shortened(forms[1].text), f"alone, but there are {names}")
    return forms[0] if forms else None


def check_form(form: Form) -> None:
    """Raise `InvalidParameter` for what is plainly not what it should be."""
    if len(form.text) > LONGEST:
        raise form.refused(f"it has {len(form.text)} characters, and may have {LONGEST}")
    if form.field == "schema":
        _check_schema(form)
    elif form.field == "grammar" and not form.text.strip():
        raise form.refused("it is empty")


def schema_text(schema: object) -> str | None:
    """A schema as text, whichever way it was given: the text itself, or what it says as a mapping."""
    if schema is None or isinstance(schema, str):
        return schema
    if not isinstance(schema, Mapping):
        raise InvalidParameter("schema", shortened(repr(schema)), "a JSON schema, as a mapping or as text")
    try:
        return json.dumps(schema, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (RecursionError, TypeError, ValueError) as error:
        raise InvalidParameter("schema", "a mapping", f"a JSON schema: {_reason(error)}") from None


def choices(choice: object) -> tuple[str, ...]:
    """The texts of which the answer must be one."""
    if isinstance(choice, str) or not isinstance(choice, Sequence):
        raise InvalidParameter("choice", shortened(repr(choice)), "a list of texts")
    if len(choice) > MOST_CHOICES or not all(isinstance(one, str) and one for one in choice):
        raise InvalidParameter("choice", shortened(repr(choice)), f"at most {MOST_CHOICES} texts, none of them empty")
    return tuple(choice)


def choice_text(choice: Sequence[str]) -> str | None:
    return json.dumps(list(choice), ensure_ascii=False) if choice else None


def shortened(text: str) -> str:
    """As much of `text` as a message can bear."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _check_schema(form: Form) -> None:
    try:
        schema: Any = json.loads(form.text)
    except (RecursionError, ValueError) as error:
        raise form.refused(_reason(error)) from None
    if not isinstance(schema, dict):
        raise form.refused("it is not an object")


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


_KINDS: Final[Mapping[Field, str]] = {
    "schema": "a JSON schema",
    "regex": "a regular expression",
    "choice": "a list of texts",
    "grammar": "a grammar in the language of Lark or of GBNF",
}
