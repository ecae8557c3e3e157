"""The form of an answer that has to call a tool: what is wrong with it is told of the tool whose it is."""

import json

from ..errors import InvalidParameter
from ..text.answers.tools import Tools, function, name
from .compiler import Grammars
from .forms import Form, check_form, shortened


def prepare(grammars: Grammars, form: Form, tools: Tools) -> None:
    """Have `form` ready, which is that of calls where the answer must be some. Raises `InvalidParameter`."""
    try:
        grammars.prepare(form)
    except InvalidParameter as refusal:
        raise (_blamed(grammars, tools, refusal) if tools.must else refusal) from None


def _blamed(grammars: Grammars, tools: Tools, refusal: InvalidParameter) -> InvalidParameter:
    """The refusal of the first tool whose parameters cannot be followed by themselves; where there is none, of all."""
    for place, tool in enumerate(tools.every):
        if name(tool) not in tools.allowed:
            continue
        schema = Form("schema", json.dumps(function(tool).get("parameters") or {}, ensure_ascii=False))
        try:
            check_form(schema)
            grammars.prepare(schema)
        except InvalidParameter as why:
            return InvalidParameter(f"tools[{place}].function.parameters", why.value, why.allowed)
    names = ", ".join(tools.allowed)
    return InvalidParameter("tools", shortened(names), f"such that a call can be held to them: {_why(refusal)}")


def _why(refusal: InvalidParameter) -> str:
    return refusal.allowed.partition(": ")[2] or refusal.allowed
