"""Anthropic's own client, speaking to the server of the session."""

from collections.abc import Iterator

import pytest
from anthropic import Anthropic

from unillm.tests.support.serving import Serving


@pytest.fixture
def client(server: Serving) -> Iterator[Anthropic]:
    with Anthropic(base_url=server.url, api_key="none", max_retries=0) as one:
        yield one
