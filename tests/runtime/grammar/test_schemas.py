"""Whatever a model with random weights says under a schema is of that schema, as another program judges."""

import json
from collections.abc import Sequence

import jsonschema
import pytest

from unillm.runtime.params import SamplingParams
from unillm.tests.runtime.engines import make_engine
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel
from unillm.tests.runtime.grammar.schemas import random_schema

SOON = {ord('"'): 6.0, ord("}"): 6.0, ord("]"): 6.0, ord("n"): 3.0}  # what is likely to end a part of JSON
COUNT, BATCH = 200, 25


def check_answers(seeds: Sequence[int]) -> None:
    model = FakeModel(vocabulary=258, context=2048)
    schemas = [random_schema(seed) for seed in seeds]
    params = [
        SamplingParams(schema=schema, seed=seed, temperature=0.8, max_tokens=900, logit_bias=SOON)
        for seed, schema in zip(seeds, schemas, strict=True)
    ]
    with make_engine(model, tokenizer=ByteTokenizer(), pages=8192, sequences=BATCH, batch_tokens=64) as engine:
        answers = engine.generate([f"{seed}" for seed in seeds], params)
    finished = 0
    for schema, answer in zip(schemas, answers, strict=True):
        assert answer.error is None, (schema, answer.error)
        if answer.finish_reason == "stop":
            finished += 1
            jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(
                json.loads(answer.text)
            )
    assert finished >= 0.9 * len(seeds)


def test_what_ends_under_a_random_schema_is_of_it() -> None:
    check_answers(range(BATCH))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(BATCH, COUNT, BATCH))
def test_what_ends_under_more_random_schemas_is_of_them(start: int) -> None:
    check_answers(range(start, start + BATCH))
