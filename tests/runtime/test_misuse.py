"""What Python lets people write and no engine can do is refused in words; what a model's recipe says, serves."""

from typing import Any

import numpy as np
import pytest
import torch

from unillm.registry.files import Message
from unillm.runtime.engine import Engine
from unillm.runtime.errors import InvalidParameter, InvalidPrompt
from unillm.runtime.options import EngineOptions
from unillm.runtime.params import SamplingParams
from unillm.runtime.text.template import ChatTemplate
from unillm.tests.runtime.engines import engine_over, greedy
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel

PLAIN = ChatTemplate("{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}", "m")
HI = {"role": "user", "content": "hi"}


@pytest.mark.parametrize("prompt", [{"a": 1}, 5, None, object(), {1, 2}])
def test_what_is_no_prompt_is_refused_by_its_type(prompt: Any) -> None:
    with engine_over(FakeModel()) as engine, pytest.raises(InvalidPrompt, match=type(prompt).__name__):
        engine.generate(prompt)


@pytest.mark.parametrize(("field", "value"), [("stop", 5), ("stop", {"a": 1}), ("stop_token_ids", 5)])
def test_what_is_no_list_is_refused_by_the_parameters_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidParameter, match=f"^{field} is"):
        SamplingParams(**{field: value})


@pytest.mark.parametrize("ids", [[np.arange(3)], [torch.arange(3)], [[1, 2.5]]])
def test_what_only_looks_like_token_ids_is_refused(ids: Any) -> None:
    with engine_over(FakeModel()) as engine, pytest.raises(InvalidPrompt, match="token ids"):
        engine.generate(ids, greedy(1))


@pytest.mark.parametrize("params", [{"max_tokens": 3}, [{"max_tokens": 3}], 5, "all"])
def test_what_are_no_parameters_is_refused(params: Any) -> None:
    with engine_over(FakeModel()) as engine, pytest.raises(InvalidParameter, match=r"^params is"):
        engine.generate([[1, 2]], params)


@pytest.mark.parametrize("messages", [None, "hi", ["hi"], {"role": "user", "content": "hi"}])
def test_what_is_no_conversation_is_refused(messages: Any) -> None:
    with Engine(FakeModel(), ByteTokenizer(), PLAIN) as engine, pytest.raises(InvalidPrompt, match="list of messages"):
        engine.chat(messages)


@pytest.mark.parametrize(("field", "value"), [("kv_dtype", None), ("device", 0), ("faults", ("forward",))])
def test_options_of_another_type_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidParameter, match=f"^{field} is"):
        EngineOptions(**{field: value})


def test_numbers_beyond_all_that_can_be_computed_with_are_refused() -> None:
    for name in ("temperature", "seed"):
        with pytest.raises(InvalidParameter, match=rf"^{name} is"):
            SamplingParams(**{name: 10**400})  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match=r"^ignore_eos is"):
        SamplingParams(ignore_eos="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [2**63 - 1, -(2**63), 0])
def test_the_same_seed_says_the_same(seed: int) -> None:
    with engine_over(FakeModel()) as engine:
        first, second = (engine.generate([1, 2], SamplingParams(seed=seed, max_tokens=5)) for _ in range(2))
        assert first.token_ids == second.token_ids


def test_no_tokens_are_no_text_also_behind_half_a_character() -> None:
    half = list("ä".encode())[:1]
    with engine_over(FakeModel(vocabulary=258), tokenizer=ByteTokenizer()) as engine:
        for params in (greedy(0), greedy(0, prompt_logprobs=0), greedy(0, stop=["x"])):
            assert engine.generate([104, *half], params).text == ""
            assert [update.text for update in engine.stream([104, *half], params)] == [""]
        waiting = engine.submit([104, *half], greedy(5))
        engine.abort(waiting)
        assert [update.text for update in engine.follow(waiting)] == [""]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ([HI], "[system:Be kind][user:Hey][assistant:Yes?][user:hi]"),
        ([{"role": "system", "content": "Be brief"}, HI], "[system:Be brief][user:Hey][assistant:Yes?][user:hi]"),
    ],
)
def test_a_conversation_begins_with_what_the_models_recipe_says(given: list[dict[str, str]], written: str) -> None:
    said = (Message("user", "Hey"), Message("assistant", "Yes?"))
    tokenizer = ByteTokenizer()
    with Engine(FakeModel(), tokenizer, PLAIN, system="Be kind", messages=said) as engine:
        done = engine.chat(given, greedy(3))
        assert done.usage.prompt_tokens == len(written)
        assert done.token_ids == engine.generate(list(written.encode()), greedy(3)).token_ids
