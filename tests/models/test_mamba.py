"""Mamba's own parts: scan and convolution against loops in fp64, its GGUF files, and what would show if wrong."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFWriter

from unillm.models import ops
from unillm.models.contract import StateTensor
from unillm.models.parts.mamba import MambaMixer
from unillm.models.table import find
from unillm.models.text.mamba import Mamba
from unillm.runtime.weights.load import load_model, open_weights
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import write_vocabulary
from unillm.tests.models.paged import Pages
from unillm.tests.models.states import CHANNELS, COUNTS, SIZE, TAPS, batch_of, before
from unillm.tests.models.zoo import PLACE, distance


def test_a_scan_is_the_recurrence_token_by_token() -> None:
    batch, view = batch_of(StateTensor((CHANNELS, SIZE)))
    total = sum(COUNTS)
    x, b, c = torch.randn(total, CHANNELS), torch.randn(total, SIZE), torch.randn(total, SIZE)
    steps, decay = torch.rand(total, CHANNELS) * 4, -torch.rand(CHANNELS, SIZE) * 16
    states = [before(view, row) for row in range(len(COUNTS))]
    out = ops.selective_scan(x, steps, decay, b, c, name="kept", cache=view, batch=batch)
    token = 0
    for row, count in enumerate(COUNTS):
        state = states[row]
        for _ in range(count):
            pace = steps[token].double()[:, None]
            state = torch.exp(pace * decay) * state + pace * x[token].double()[:, None] * b[token].double()
            torch.testing.assert_close(out[token].double(), state @ c[token].double(), rtol=1e-4, atol=1e-4)
            token += 1
        torch.testing.assert_close(view.tensors["kept"][row + len(COUNTS)].double(), state, rtol=1e-4, atol=1e-4)


def test_a_convolution_sees_what_came_before_its_chunk() -> None:
    batch, view = batch_of(StateTensor((TAPS - 1, CHANNELS)))
    x, weight, bias = torch.randn(sum(COUNTS), CHANNELS), torch.randn(TAPS, CHANNELS), torch.randn(CHANNELS)
    past = [before(view, row) for row in range(len(COUNTS))]
    out = ops.causal_conv(x, weight, bias, name="kept", cache=view, batch=batch)
    for row, (count, start) in enumerate(zip(COUNTS, batch.starts.tolist(), strict=False)):
        inputs = torch.cat((past[row], x[start : start + count].double()))
        kernel = weight.T.double()[:, None]
        wanted = torch.nn.functional.conv1d(inputs.T[None], kernel, bias.double(), groups=CHANNELS)[0].T
        torch.testing.assert_close(
            out[start : start + count].double(), torch.nn.functional.silu(wanted), rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(view.tensors["kept"][row + len(COUNTS)].double(), inputs[1 - TAPS :])


def test_a_step_leaves_what_it_read_as_it_was() -> None:
    batch, view = batch_of(StateTensor((TAPS - 1, CHANNELS)))
    kept = view.tensors["kept"][: len(COUNTS)].clone()
    for _ in range(2):
        ops.causal_conv(
            torch.ones(sum(COUNTS), CHANNELS), torch.ones(TAPS, CHANNELS), None, name="kept", cache=view, batch=batch
        )
        assert torch.equal(view.tensors["kept"][1 : len(COUNTS)], kept[1:])


@pytest.mark.parametrize("name", ["mamba", "mamba-bias", "falcon-mamba"])
def test_a_gguf_file_says_the_same_as_its_checkpoint(name: str, tmp_path: Path) -> None:
    row = zoo.BY_NAME[name]
    if name == "mamba-bias":
        row = replace(row, settings={**row.settings, "use_bias": False})
    reference = zoo.reference(row)
    write(row, reference, tmp_path / "model.gguf")
    model = load_model(zoo.files_in(tmp_path, "model.gguf", kind="gguf"), PLACE)
    assert isinstance(model, Mamba)
    wanted = zoo.expected(reference, zoo.prompt(row))
    assert distance(Pages(model).whole(zoo.prompt(row)), wanted) <= zoo.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mamba", "falcon-mamba"])
def test_llama_cpp_agrees_about_the_file(name: str, tmp_path: Path) -> None:
    """It takes what is inside to be twice as wide, and norms to have one number under the root."""
    from unillm.tests.support.llama_cpp import LlamaCpp

    row = zoo.BY_NAME[name]
    even = {"intermediate_size": 128, "mixer_rms_eps": row.settings["layer_norm_epsilon"]}
    row = replace(row, name=f"{name}-even", settings={**row.settings, **even})
    write(row, zoo.reference(row), tmp_path / "model.gguf")
    model, peer = (
        load_model(zoo.files_in(tmp_path, "model.gguf", kind="gguf"), PLACE),
        LlamaCpp(tmp_path / "model.gguf"),
    )
    for length in (1, 5, zoo.PROMPT):
        got = Pages(model).whole(zoo.prompt(row)[:length])[-1].log_softmax(-1).clamp(min=-30.0)
        wanted = peer.log_probabilities(zoo.prompt(row)[:length], len(got)).clamp(min=-30.0)
        assert float((got - wanted).abs().max()) <= 1e-4


def write(row: zoo.Row, reference: Any, path: Path) -> None:
    """As llama.cpp's converter lays these models out."""
    config = zoo.config_of(row)
    writer = GGUFWriter(path, "mamba")
    for key, value in {
        "context_length": 1 << 20,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "vocab_size": config.vocab_size,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "ssm.conv_kernel": config.conv_kernel,
        "ssm.inner_size": config.intermediate_size,
        "ssm.state_size": config.state_size,
        "ssm.time_step_rank": int(config.time_step_rank),
    }.items():
        writer.add_uint32(f"mamba.{key}", value)
    writer.add_float32("mamba.attention.layer_norm_rms_epsilon", config.layer_norm_epsilon)
    writer.add_bool("mamba.ssm.dt_b_c_rms", row.family == "FalconMamba")
    write_vocabulary(writer, config.vocab_size)
    for name, parameter in reference.named_parameters():
        tensor = parameter.detach()
        if name.endswith("A_log"):
            tensor = -tensor.exp()
        writer.add_tensor(gguf_name(name), tensor.squeeze().contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str) -> str:
    for theirs, ours in {
        "backbone.embeddings": "token_embd",
        "backbone.norm_f": "output_norm",
        "lm_head": "output",
        "backbone.layers": "blk",
        "mixer.in_proj": "ssm_in",
        "mixer.conv1d": "ssm_conv1d",
        "mixer.x_proj": "ssm_x",
        "mixer.dt_proj": "ssm_dt",
        "mixer.out_proj": "ssm_out",
        "mixer.A_log": "ssm_a",
        "mixer.D": "ssm_d",
        ".norm.": ".attn_norm.",
    }.items():
        name = name.replace(theirs, ours)
    return name


def no_skip(mixer: MambaMixer) -> None:
    mixer.through.zero_()


def slower(mixer: MambaMixer) -> None:
    mixer.decay *= 0.5


def no_conv_bias(mixer: MambaMixer) -> None:
    mixer.conv.bias = None


def other_order(mixer: MambaMixer) -> None:
    mixer.conv.weight = mixer.conv.weight.flip(0)


@pytest.mark.parametrize("break_", [no_skip, slower, no_conv_bias, other_order])
@pytest.mark.parametrize("name", ["mamba", "falcon-mamba"])
def test_a_part_left_out_shows(name: str, break_: Callable[[MambaMixer], None], tmp_path: Path) -> None:
    row = zoo.BY_NAME[name]
    model = load_model(zoo.save(zoo.reference(row), tmp_path), PLACE)
    for module in model.modules():
        if isinstance(module, MambaMixer):
            break_(module)
    wanted = zoo.expected(zoo.reference(row), zoo.prompt(row))
    assert distance(Pages(model).whole(zoo.prompt(row)), wanted) > 10 * zoo.TOLERANCE


@pytest.mark.parametrize("change", [{"eps": 1e-2}, {"mixed_eps": 1e-1}, {"mixed_eps": None}], ids=str)
def test_a_wrong_number_in_the_config_shows(change: dict[str, Any], tmp_path: Path) -> None:
    row = zoo.BY_NAME["falcon-mamba"]
    weights = open_weights(zoo.save(zoo.reference(row), tmp_path))
    family = find(weights.metadata.architecture, "safetensors")
    config: Any = family.Config.from_hf(weights.metadata.config)
    model = family.load(weights, replace(config, **change), PLACE)
    wanted = zoo.expected(zoo.reference(row), zoo.prompt(row))
    assert distance(Pages(model).whole(zoo.prompt(row)), wanted) > 10 * zoo.TOLERANCE
