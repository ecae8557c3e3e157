"""Ollama's options: what they mean here, and what is wrong with one is said by its name."""

from typing import Any

import pytest

from unillm.runtime.server.endpoint import Refused
from unillm.runtime.server.ollama.options import NO_LIMIT, read_options


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"num_predict": 5}, {"max_tokens": 5}),
        ({"num_predict": 5.0}, {"max_tokens": 5}),
        ({"num_predict": -1}, {"max_tokens": NO_LIMIT}),
        ({"num_predict": -2}, {"max_tokens": NO_LIMIT}),
        ({"seed": -1}, {}),
        ({"seed": 7, "temperature": 0}, {"seed": 7, "temperature": 0}),
        ({"repeat_penalty": 1.2}, {"repetition_penalty": 1.2}),
        ({"repeat_penalty": 1.2, "repeat_last_n": 0}, {"repetition_penalty": 1.0}),
        ({"stop": "x"}, {"stop": "x"}),
        ({"top_p": None}, {}),
        ({"num_gpu": 1, "use_mmap": True, "mirostat": 2, "nobody_knows": "this"}, {}),
    ],
)
def test_options_are_parameters_of_ours(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert read_options(given).sampling == wanted


def test_num_ctx_is_the_context() -> None:
    assert read_options({"num_ctx": 128}).context == 128
    assert read_options(None).context is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_ctx": "long"}, 'option "num_ctx" must be of type integer'),
        ({"num_predict": 1.5}, 'option "num_predict" must be of type integer'),
        ({"num_gpu": True}, 'option "num_gpu" must be of type integer'),
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
        ({"stop": [1]}, 'option "stop" must be of type array'),
        ({"seed": 2.0**70}, 'option "seed" must be of type integer'),
        ({"num_ctx": 0}, "options.num_ctx is 0; it must be 1 or more"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(given: dict[str, Any], message: str) -> None:
    """SV-11"""
    with pytest.raises(Refused) as caught:
        read_options(given)
    assert (caught.value.fault.message, caught.value.status) == (message, 400)
