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

# Characters: a form of more is a slip or an attack.
LONGEST: Final[Mapping[Field, int]] = {"schema": 1 << 18, "regex": 1 << 14, "choice": 1 << 18, "grammar": 1 << 18}
MOST_CHOICES: Final = 4096
MOST_OBJECTS: Final = 8192  # in a schema: what compiles it goes as deep as they lead to each other
SHOWN, TOLD = 60, 400  # characters of a form in an error's message, and of what is wrong with it


@dataclass(frozen=True, slots=True)
class Form:
    """`text` as the parameter called `field` means it; of a choice it is a JSON list."""

    field: Field
    text: str

    def refused(self, why: str) -> InvalidParameter:
        """The error that says why no answer can be held to this."""
        return InvalidParameter(self.field, shortened(self.text), f"{_KINDS[self.field]}: {shortened(why, TOLD)}")


def read_form(schema: str | None, regex: str | None, choice: Sequence[str] | None, grammar: str | None) -> Form | None:
    """The one that is given, None where none is. Raises `InvalidParameter` where several are."""
    given = {"schema": schema, "regex": regex, "choice": choice_text(choice), "grammar": grammar}
    forms = [Form(field, text) for field in _KINDS if (text := given[field]) is not None]
    if len(forms) > 1:
        names = " and ".join(form.field for form in forms)
        raise InvalidParameter(forms[1].field, shortened(forms[1].text), f"alone, but there are {names}")
    return forms[0] if forms else None


def check_form(form: Form) -> None:
    """Raise `InvalidParameter` for what is plainly not what it should be."""
    most = LONGEST[form.field]
    if len(form.text) > most:
        raise form.refused(f"it has {len(form.text)} characters, and may have {most}")
    if form.field == "schema":
        _check_schema(form)
    elif form.field == "grammar" and not form.text.strip():
        raise form.refused("it is empty")
    if form.text.count("{") > MOST_OBJECTS:
        raise form.refused(f"it has more than {MOST_OBJECTS} braces")


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


def choices(choice: object) -> tuple[str, ...] | None:
    """The texts of which the answer must be one."""
    if choice is None:
        return None
    if isinstance(choice, str) or not isinstance(choice, Sequence):
        raise InvalidParameter("choice", shortened(repr(choice)), "a list of texts")
    if not 0 < len(choice) <= MOST_CHOICES or not all(isinstance(one, str) and one for one in choice):
        raise InvalidParameter("choice", shortened(repr(choice)), f"1 to {MOST_CHOICES} texts, none of them empty")
    return tuple(choice)


def choice_text(choice: Sequence[str] | None) -> str | None:
    return None if choice is None else json.dumps(list(choice), ensure_ascii=False)


def shortened(text: str, most: int = SHOWN) -> str:
    """As much of `text` as a message can bear."""
    return text if len(text) <= most else f"{text[:most]}..."


def _check_schema(form: Form) -> None:
    try:
        schema: Any = json.loads(form.text, parse_constant=_not_a_number)
    except (RecursionError, ValueError) as error:
        raise form.refused(_reason(error)) from None
    if not isinstance(schema, dict):
        raise form.refused("it is not an object")


def _not_a_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


_KINDS: Final[Mapping[Field, str]] = {
    "schema": "a JSON schema",
    "regex": "a regular expression",
    "choice": "a list of texts",
    "grammar": "a grammar in the language of Lark or of GBNF",
}
