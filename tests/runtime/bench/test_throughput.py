"""The benchmark of many requests at once: the requests are those of nano-vllm, all answered to their length."""

import pytest
import torch
from torch import Tensor

from unillm.models.contract import Placement
from unillm.runtime.bench.dummy import dummy_engine, dummy_model
from unillm.runtime.bench.synthetic import SHAPES
from unillm.runtime.bench.throughput import Crowd, measure_throughput
from unillm.runtime.options import EngineOptions

HERE = Placement(torch.device("cpu"), torch.float32)


def test_the_requests_are_those_that_others_publish_figures_for() -> None:
    """nano-vllm's README: 133 966 tokens of answers."""
    prompts, how = Crowd().prompts(151936)
    assert sum(one.max_tokens or 0 for one in how) == 133_966
    assert sum(map(len, prompts)) == 142_827
    assert (len(prompts), max(map(max, prompts)) <= 10_000) == (256, True)


@pytest.mark.parametrize("most_running", [3, 8])
def test_a_small_crowd_is_answered_to_its_full_length(most_running: int) -> None:
    options = EngineOptions(device="cpu", dtype="fp32", context=128, kv_memory=1 << 22, draft="off")
    crowd = Crowd(requests=6, least=4, most=12)
    with dummy_engine("qwen3-tiny", options.with_batch(64, most_running)) as engine:
        throughput, steps = measure_throughput(engine, crowd)
    assert (throughput.name, throughput.median > 0) == ("throughput", True)
    lengths = [one.max_tokens or 0 for one in crowd.prompts(512)[1]]
    assert f"answers of {sum(lengths)}," in throughput.about
    assert steps.median >= max(lengths)


def test_weights_are_made_alike_each_time_and_of_the_shape_that_was_asked_for() -> None:
    first, second = ([*dummy_model("qwen3-tiny", HERE).weights()] for _ in range(2))
    made, again = ([one for one in weights if isinstance(one, Tensor)] for weights in (first, second))
    assert all(map(torch.equal, made, again))
    assert sum(one.numel() for one in made if one.dim() == 2) == SHAPES["qwen3-tiny"].parameters
