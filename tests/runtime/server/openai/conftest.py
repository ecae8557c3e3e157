"""OpenAI's own client, speaking to the server of the session."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from unillm.tests.support.serving import Serving


@pytest.fixture
def client(server: Serving) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as one:
        yield one
