"""From what OpenAI's bodies share to ours: sampling, and what a template may see of a wish to think."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...params import SamplingParams
from ...text.answers.thoughts import wished
from ..asked import ANY_OBJECT, sampling
from ..endpoint import Server, invalid
from ..known import THINKS_NOT, known_of
from .types import Asked, Effort, FlatSchema, JsonObject, JsonSchema, PlainText


def sampled(body: Asked, **more: Any) -> SamplingParams:
    """The sampling that `body` asks for, with what only some endpoints have. Raises `InvalidParameter`."""
    schema = more.pop("schema", None)
    if schema is not None and body.schema is not None:
        raise invalid("schema", "schema says what the answer must look like, and so does another field; give one")
    return sampling(
        temperature=body.temperature,
        top_p=body.top_p,
        presence_penalty=body.presence_penalty,
        frequency_penalty=body.frequency_penalty,
        logit_bias=body.logit_bias,
        seed=body.seed,
        stop=body.stop,
        top_k=body.top_k,
        min_p=body.min_p,
        typical_p=body.typical_p,
        repetition_penalty=body.repetition_penalty,
        stop_token_ids=body.stop_token_ids,
        ignore_eos=body.ignore_eos,
        schema=body.schema if schema is None else schema,
        regex=body.regex,
        choice=body.choice,
        grammar=body.grammar,
        **more,
    )


def schema_of(form: PlainText | JsonObject | JsonSchema | FlatSchema | None) -> Mapping[str, Any] | None:
    """The schema of the answer that is asked for; None where it may be any text."""
    if form is None or isinstance(form, PlainText):
        return None
    if isinstance(form, JsonObject):
        return ANY_OBJECT
    named = form.json_schema if isinstance(form, JsonSchema) else form
    return ANY_OBJECT if named.schema is None else named.schema


def thinking(effort: Effort | None) -> dict[str, Any]:
    """The variables by which templates know how much to think."""
    return {} if effort is None else wished(effort != "none", effort)


async def check_effort(server: Server, model: str, effort: Effort | None, field: str) -> None:
    """Raises `Refused` for an effort that is wanted of a model that does not think."""
    if effort not in (None, "none") and not (await known_of(server.catalogue, model)).thinks:
        raise invalid(field, f"{field} is not supported with this model: {model} {THINKS_NOT}")


def prompts(given: str | Sequence[str | int | list[int]], field: str) -> list[str | list[int]]:
    """One prompt or several: all text, all token ids, or all lists of token ids."""
    if isinstance(given, str):
        return [given]
    ids = [one for one in given if isinstance(one, int)]
    if len(ids) == len(given):
        return [ids]
    several = [one for one in given if not isinstance(one, int)]
    if ids or len({type(one) for one in several}) > 1:
        raise invalid(field, f"{field} is a mixture; it must be text, token ids, or a list of either")
    if [] in several:
        raise invalid(field, f"{field} has an empty list of token ids")
    return several
