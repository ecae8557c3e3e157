"""/v1/completions, asked by OpenAI's own client of a running server."""

from typing import Any

import pytest

from unillm.runtime.engine import Engine
from unillm.runtime.params import SamplingParams
from unillm.tests.support.serving import Serving

GREEDY = SamplingParams(temperature=0, max_tokens=12)


@pytest.mark.parametrize("prompt", ["Once", ["Once", "upon"], [72, 73, 74], [[72, 73], [74]]])
def test_every_form_of_prompt_is_continued(client: Any, server: Serving, engine: Engine, prompt: Any) -> None:
    here = engine.generate(prompt, GREEDY)
    texts = [one.text for one in here] if isinstance(here, list) else [here.text]
    asked: dict[str, Any] = {"model": server.model, "prompt": prompt, "temperature": 0, "max_tokens": 12}
    there = client.completions.create(**asked)
    assert [choice.text for choice in there.choices] == texts
    assert [choice.index for choice in there.choices] == list(range(len(texts)))
    parts = [""] * len(texts)
    for chunk in client.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            parts[choice.index] += choice.text
    assert parts == texts


def test_without_a_limit_an_answer_has_sixteen_tokens(client: Any, server: Serving) -> None:
    told = client.completions.create(model=server.model, prompt="Once", extra_body={"ignore_eos": True})
    assert told.usage is not None
    assert (told.usage.completion_tokens, told.choices[0].finish_reason) == (16, "length")


def test_an_echo_is_the_prompt_before_the_answer(client: Any, server: Serving, engine: Engine) -> None:
    here = engine.generate("Once", GREEDY).text
    asked: dict[str, Any] = {"model": server.model, "temperature": 0, "max_tokens": 12, "echo": True}
    assert client.completions.create(prompt="Once", **asked).choices[0].text == f"Once{here}"
    assert engine.tokenizer is not None
    ids = engine.tokenizer.encode("Once")
    assert client.completions.create(prompt=ids, **asked).choices[0].text == f"Once{here}"
    parts = [chunk.choices[0].text for chunk in client.completions.create(prompt="Once", **asked, stream=True)]
    assert parts[0] == "Once"
    assert "".join(parts) == f"Once{here}"


def test_a_prompt_alone_can_be_scored(client: Any, server: Serving, engine: Engine) -> None:
    """As evaluations do: no tokens are wanted, only those of the prompt and how likely they are."""
    assert engine.tokenizer is not None
    ids = engine.tokenizer.encode("Once upon a time")
    here = engine.generate(ids, SamplingParams(temperature=0, max_tokens=0, prompt_logprobs=2))
    told = client.completions.create(model=server.model, prompt=ids, max_tokens=0, echo=True, logprobs=2)
    assert told.choices[0].text == "Once upon a time"
    scores = told.choices[0].logprobs
    assert scores is not None
    assert here.prompt_logprobs is not None
    assert "".join(scores.tokens or ()) == "Once upon a time"
    assert scores.token_logprobs is not None
    assert scores.token_logprobs[0] is None
    expected = [one.logprob for one in here.prompt_logprobs]
    assert scores.token_logprobs[1:] == pytest.approx(expected, abs=1e-5)
    assert scores.text_offset == list(range(len("Once upon a time")))


def test_scores_are_lists_with_an_entry_a_token(client: Any, server: Serving, engine: Engine) -> None:
    here = engine.generate("Once", SamplingParams(temperature=0, max_tokens=12, logprobs=2))
    asked: dict[str, Any] = {"model": server.model, "prompt": "Once", "temperature": 0, "max_tokens": 12, "logprobs": 2}
    told = client.completions.create(**asked).choices[0].logprobs
    assert told is not None
    assert here.logprobs is not None
    assert told.tokens == [one.token for one in here.logprobs]
    assert told.token_logprobs == pytest.approx([one.logprob for one in here.logprobs], abs=1e-5)
    chunks = list(client.completions.create(**asked, stream=True))
    parts = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs is not None]
    assert [name for part in parts for name in part.tokens or ()] == told.tokens
    assert [offset for part in parts for offset in part.text_offset or ()] == told.text_offset


def test_the_best_of_several_answers_are_the_likeliest(client: Any, server: Serving, engine: Engine) -> None:
    made: dict[str, Any] = {"temperature": 1.0, "seed": 11, "max_tokens": 8}
    here = engine.generate("Once", SamplingParams(n=5, logprobs=0, **made))

    def likelihood(one: Any) -> float:
        mean: float = sum(score.logprob for score in one.logprobs) / len(one.logprobs)
        return mean

    ranked = sorted((here, *here.alternatives), key=likelihood, reverse=True)
    told = client.completions.create(model=server.model, prompt="Once", n=2, best_of=5, **made)
    assert [choice.text for choice in told.choices] == [one.text for one in ranked[:2]]
    assert told.choices[0].logprobs is None
    assert told.usage is not None
    assert told.usage.completion_tokens == sum(one.usage.completion_tokens for one in ranked)


def test_prompts_with_several_answers_each_are_numbered_through(client: Any, server: Serving) -> None:
    asked: dict[str, Any] = {"model": server.model, "prompt": ["a", "b", "c"], "n": 2, "seed": 1, "max_tokens": 5}
    told = client.completions.create(**asked)
    parts = [""] * 6
    options: Any = {"include_usage": True}
    chunks = list(client.completions.create(**asked, stream=True, stream_options=options))
    for chunk in chunks:
        for choice in chunk.choices:
            parts[choice.index] += choice.text
    assert parts == [choice.text for choice in told.choices]
    counts = (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens)
    assert counts == (told.usage.prompt_tokens, told.usage.completion_tokens)
    alone = client.completions.create(model=server.model, prompt="a", max_tokens=1)
    assert told.usage.prompt_tokens == 3 * alone.usage.prompt_tokens
