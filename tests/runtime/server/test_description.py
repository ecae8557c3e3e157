"""Requests made up from /openapi.json: whatever it says is accepted is, and nothing ends in a 5xx."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok

from unillm.tests.support.serving import Serving

# Neither what fetches nor what changes what is installed, and nothing that would end the server's only model.
_LEFT_OUT = r"^/api/(pull|create|copy|delete|blobs)|^/v1/models/unload"
_SMALL, _LARGE = 3, 250  # examples of each operation


def operations(server: Serving) -> Iterator[Any]:
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json").exclude(path_regex=_LEFT_OUT)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        result: Any = found
        yield result.ok()


def hammer(server: Serving, examples: int) -> list[str]:
    """What went wrong."""
    return [wrong for operation in operations(server) for wrong in _tried(operation, server, examples)]


def _tried(operation: Any, server: Serving, examples: int) -> list[str]:
    wrong: list[str] = []
    quiet: Any = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=quiet,
    )
    @given(case=operation.as_strategy())
    def once(case: Any) -> None:
        if isinstance(case.body, dict):
            _made_quick(case.body, server)
        answer = case.call(base_url=server.url, timeout=60)
        if answer.status_code >= 500:
            wrong.append(f"{operation.label}: {answer.status_code} {answer.text} for {case.body!r}"[:800])

    once()
    return wrong


def _made_quick(body: dict[str, Any], server: Serving) -> None:
    """The server's own model, and short answers, where a body asks for any."""
    if "model" in body:
        body["model"] = server.model
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        if isinstance(body.get(name), int) and body[name] > 4:
            body[name] = 4
    if isinstance(body.get("options"), dict):
        body["options"]["num_predict"] = 4
    body.pop("keep_alive", None)


def test_the_description_is_one(server: Serving) -> None:
    told = server.get("/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    assert {"/health", "/metrics", "/tokenize", "/v1/chat/completions", "/openapi.json"} <= told["paths"].keys()
    assert len(list(operations(server))) > 10


def test_some_requests_made_of_the_description_end_in_no_5xx(server: Serving) -> None:
    """SV-28"""
    assert hammer(server, _SMALL) == []
    assert httpx.get(f"{server.url}/health", timeout=30).status_code == 200


@pytest.mark.slow
def test_many_requests_made_of_the_description_end_in_no_5xx(server: Serving) -> None:
    """SV-28"""
    assert hammer(server, _LARGE) == []
