"""A caller's parameters over a model's own defaults."""

import pytest

from unillm.runtime.errors import InvalidParameter
from unillm.runtime.params import SamplingParams


def test_whatever_a_caller_leaves_as_it_is_comes_from_the_model() -> None:
    defaults = {"temperature": 0.6, "stop": ["END"], "stop_token_ids": [7], "ignore_eos": True}
    assert SamplingParams().over(defaults) == SamplingParams(
        temperature=0.6, stop=["END"], stop_token_ids=[7], ignore_eos=True
    )
    assert SamplingParams(temperature=0.0, stop="mine").over(defaults).stop_strings == ("mine",)
    assert SamplingParams(temperature=0.0).over(defaults).temperature == 0.0


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, 10**400])
def test_a_seed_that_no_server_could_be_sent_is_refused_here_too(seed: int) -> None:
    assert SamplingParams(seed=2**63 - 1).seed == 2**63 - 1
    with pytest.raises(InvalidParameter, match="64 bits"):
        SamplingParams(seed=seed)
