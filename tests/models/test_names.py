"""The common table of names, held against the `gguf` package's."""

import gguf
import pytest

from unillm.models.names import GGUF_NAMES, gguf_name


@pytest.mark.parametrize("name", GGUF_NAMES)
def test_every_name_is_what_the_gguf_package_calls_it(name: str) -> None:
    """For Qwen3, which has them all."""
    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 12)
    whole = name if name.startswith(("model", "lm_head")) else f"model.layers.11.{name}"
    assert gguf_name(f"{whole}.weight") == known.get_name(f"{whole}.weight", (".weight",))


def test_biases_keep_their_ending() -> None:
    assert gguf_name("model.layers.3.self_attn.q_proj.bias") == "blk.3.attn_q.bias"


@pytest.mark.parametrize(
    "name", ["rope_freqs.weight", "token_embd.weight", "model.layers.weight", "x.model.layers.1.y"]
)
def test_a_name_outside_the_table_stays(name: str) -> None:
    assert gguf_name(name) == name
