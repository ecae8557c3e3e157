"""/v1/embeddings and /v1/models, asked by OpenAI's own client of a running server."""

import math
from typing import Any

import pytest

from unillm.runtime.engine import Engine
from unillm.tests.support.serving import Serving


def test_vectors_are_the_engines_at_length_one(client: Any, server: Serving, engine: Engine) -> None:
    """A45"""
    here = engine.embed(["Hi", "there"])
    for form in ("float", "base64"):
        told = client.embeddings.create(model=server.model, input=["Hi", "there"], encoding_format=form)
        for index, vector in enumerate(here):
            length = math.hypot(*vector)
            found = told.data[index].embedding
            if form == "base64":
                assert isinstance(found, str)
                continue
            assert found == pytest.approx([value / length for value in vector], abs=1e-5)
    packed = client.embeddings.create(model=server.model, input=["Hi", "there"])  # base64 on the way, by itself
    assert packed.data[1].embedding == pytest.approx([value / math.hypot(*here[1]) for value in here[1]], abs=1e-6)


def test_every_form_of_input_is_read_and_counted(client: Any, server: Serving, engine: Engine) -> None:
    assert engine.tokenizer is not None
    ids = engine.tokenizer.encode("Hi")
    plain = client.embeddings.create(model=server.model, input="Hi")
    assert plain.usage.prompt_tokens == len(ids)
    for given in (ids, [ids], ["Hi"]):
        assert client.embeddings.create(model=server.model, input=given).data == plain.data
    assert client.embeddings.create(model=server.model, input=[ids, ids]).usage.prompt_tokens == 2 * len(ids)


def test_shorter_vectors_have_length_one_too(client: Any, server: Serving) -> None:
    whole = client.embeddings.create(model=server.model, input="Hi").data[0].embedding
    cut = client.embeddings.create(model=server.model, input="Hi", dimensions=8).data[0].embedding
    assert len(cut) == 8
    assert math.hypot(*cut) == pytest.approx(1, abs=1e-5)
    assert cut[0] / cut[1] == pytest.approx(whole[0] / whole[1], rel=1e-3)


def test_models_are_listed_and_found_by_name(client: Any, server: Serving) -> None:
    listed = list(client.models.list())
    assert server.model in [one.id for one in listed]
    found = server.get(f"/v1/models/{server.model}").json()
    assert (found["id"], found["object"]) == (server.model, "model")
