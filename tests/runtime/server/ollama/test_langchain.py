"""LangChain's adapter for Ollama, against a running server."""

from langchain_ollama import ChatOllama, OllamaEmbeddings

from unillm.runtime.engine import Engine
from unillm.runtime.params import SamplingParams
from unillm.runtime.results import Completion
from unillm.tests.support.serving import Serving


def test_langchain_gets_what_the_engine_says(server: Serving, engine: Engine) -> None:
    wanted = engine.chat([{"role": "user", "content": "Why?"}], SamplingParams(temperature=0, max_tokens=12))
    assert isinstance(wanted, Completion)
    model = ChatOllama(model=server.model, base_url=server.url, temperature=0, num_predict=12)
    answer = model.invoke("Why?")
    assert answer.content == wanted.text
    assert answer.response_metadata["done_reason"] == wanted.finish_reason
    assert "".join(str(part.content) for part in model.stream("Why?")) == wanted.text


def test_langchain_gets_vectors(server: Serving, engine: Engine) -> None:
    vectors = OllamaEmbeddings(model=server.model, base_url=server.url).embed_documents(["a", "b"])
    assert [len(one) for one in vectors] == [len(one) for one in engine.embed(["a", "b"])]
