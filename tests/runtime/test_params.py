"""A caller's parameters over a model's own defaults."""

from unillm.runtime.params import SamplingParams


def test_whatever_a_caller_leaves_as_it_is_comes_from_the_model() -> None:
    defaults = {"temperature": 0.6, "stop": ["END"], "stop_token_ids": [7], "ignore_eos": True}
    assert SamplingParams().over(defaults) == SamplingParams(
        temperature=0.6, stop=["END"], stop_token_ids=[7], ignore_eos=True
    )
    assert SamplingParams(temperature=0.0, stop="mine").over(defaults).stop_strings == ("mine",)
    assert SamplingParams(temperature=0.0).over(defaults).temperature == 0.0
