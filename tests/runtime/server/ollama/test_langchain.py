"""LangChain's adapter for Ollama, against a running server."""

import asyncio
from typing import Any

from langchain_ollama import ChatOllama, OllamaEmbeddings

from unillm.runtime.engine import Engine
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.tests.support.serving import Serving


def close(adapter: Any) -> None:
    """What it does not do itself."""
    adapter._client.close()
    asyncio.run(adapter._async_client.close())


def test_langchain_gets_what_the_engine_says(server: Serving, engine: Engine) -> None:
    wanted = engine.chat([{"role": "user", "content": "Why?"}], SamplingParams(temperature=0, max_tokens=12))
    assert isinstance(wanted, Completion)
    model = ChatOllama(model=server.model, base_url=server.url, temperature=0, num_predict=12)
    answer = model.invoke("Why?")
    assert answer.content == wanted.text
    assert answer.response_metadata["done_reason"] == wanted.finish_reason
    assert "".join(str(part.content) for part in model.stream("Why?")) == wanted.text
    close(model)


def test_langchain_gets_vectors(server: Serving, engine: Engine) -> None:
    model = OllamaEmbeddings(model=server.model, base_url=server.url)
    vectors = model.embed_documents(["a", "b"])
    close(model)
    assert [len(one) for one in vectors] == [len(one) for one in engine.embed(["a", "b"])]
