"""Projections, tables, norms and rotations against their definitions in fp64."""

import gguf
import numpy as np
import pytest
import torch
from torch import Tensor

from unillm.models import ops
from unillm.models.blocks import PACKED_KINDS, block_of
from unillm.models.ops.reference import rotate
from unillm.models.quantized import QuantizedTensor

# More numbers than one tile, and rows that tiles do not divide evenly.
ROWS, COLUMNS = 3001, 512


def packed(kind: str, rows: int = ROWS, columns: int = COLUMNS) -> QuantizedTensor:
    """Random blocks with scales of moderate size: any byte is a valid one but for the fp16s."""
    block = block_of(kind)
    data = np.random.default_rng(1).integers(0, 64, (rows, columns // block.elements * block.nbytes), dtype=np.uint8)
    return QuantizedTensor(kind, (rows, columns), torch.from_numpy(data))


def numbers(weight: QuantizedTensor) -> Tensor:
    values = gguf.quants.dequantize(weight.data.numpy(), gguf.GGMLQuantizationType[weight.kind])
    return torch.from_numpy(values).double()


def close(got: Tensor, wanted: Tensor, share: float = 1e-5) -> bool:
    return float((got.double() - wanted).abs().max()) <= share * float(wanted.abs().max())


@pytest.mark.parametrize("tokens", [1, 3, 70])
@pytest.mark.parametrize("kind", sorted(PACKED_KINDS))
def test_a_packed_weight_multiplies_as_its_numbers(kind: str, tokens: int) -> None:
    weight, x = packed(kind), torch.randn(tokens, COLUMNS)
    assert close(ops.linear(x, (weight,), (None,)), x.double() @ numbers(weight).T)


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
def test_a_plain_weight_of_any_type_multiplies_as_its_numbers(stored: torch.dtype) -> None:
    weight, x = torch.randn(ROWS, COLUMNS).to(stored), torch.randn(5, COLUMNS)
    assert close(ops.linear(x, (weight,), (None,)), x.double() @ weight.double().T)


def test_weights_side_by_side_may_be_of_different_kinds() -> None:
    x, biases = torch.randn(4, COLUMNS), (torch.randn(96), None, torch.randn(32))
    weights = (packed("Q4_K", 96), torch.randn(64, COLUMNS).half(), packed("Q8_0", 32))
    got = ops.linear(x, weights, biases)
    dense = torch.cat([numbers(w) if isinstance(w, QuantizedTensor) else w.double() for w in weights])
    shift = torch.cat([torch.zeros(64) if bias is None else bias for bias in biases])
    assert close(got, x.double() @ dense.T + shift)


def test_a_weight_stays_as_it_is_stored() -> None:
    weight = packed("Q4_1")
    before = weight.data.clone()
    ops.linear(torch.randn(2, COLUMNS), (weight,), (None,))
    assert torch.equal(weight.data, before)


def test_no_matrix_is_ever_unpacked_whole() -> None:
    """The memory that a projection takes does not follow the size of its weight."""
    weight, x = packed("Q8_0", 40_000), torch.randn(1, COLUMNS)
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        ops.linear(x, (weight,), (None,))
    largest = max(event.cpu_memory_usage for event in profile.events() or ())
    assert 0 < largest < 4 * weight.num_elements / 30


@pytest.mark.parametrize("kind", sorted(PACKED_KINDS))
def test_an_embedding_takes_rows_of_a_packed_table(kind: str) -> None:
    table, ids = packed(kind, 50), torch.tensor([0, 49, 7, 7])
    assert torch.equal(ops.embedding(ids, table, torch.float32), numbers(table)[ids].float())


def test_an_embedding_takes_rows_of_a_plain_table_in_the_type_of_activations() -> None:
    table = torch.randn(9, 4).bfloat16()
    got = ops.embedding(torch.tensor([8, 1]), table, torch.float32)
    assert got.dtype == torch.float32
    assert torch.equal(got, table[[8, 1]].float())


def test_rms_norm_divides_by_the_root_of_the_mean_square() -> None:
    x, weight = torch.randn(3, 5, 8), torch.randn(8)
    wanted = x / (x.square().mean(-1, keepdim=True) + 0.1).sqrt() * weight
    torch.testing.assert_close(ops.rms_norm(x, ops.Norm(weight, 0.1)), wanted)


def test_silu_mul_gates_the_second_half_by_the_first() -> None:
    gate, up = torch.randn(3, 8), torch.randn(3, 8)
    torch.testing.assert_close(ops.silu_mul(torch.cat((gate, up), -1)), gate * torch.sigmoid(gate) * up)


def test_gelu_mul_gates_by_the_form_of_tanh() -> None:
    gate, up = torch.randn(3, 8), torch.randn(3, 8)
    curved = 0.5 * gate * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (gate + 0.044715 * gate**3)))
    torch.testing.assert_close(ops.gelu_mul(torch.cat((gate, up), -1)), curved * up)


def test_a_norm_may_be_added_to_what_stays() -> None:
    x, weight, onto = torch.randn(3, 8), torch.randn(8), torch.randn(3, 8)
    given, norm = onto.clone(), ops.Norm(weight, 0.1)
    torch.testing.assert_close(ops.rms_norm(x, norm, onto=onto), onto + ops.rms_norm(x, norm))
    assert torch.equal(onto, given)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("turning", [16, 8])
def test_rotation_turns_each_pair_in_its_plane(interleaved: bool, turning: int) -> None:
    """As multiplication of complex numbers; what is beyond the turning numbers stays."""
    x, angles = torch.randn(5, 3, 16), torch.randn(5, turning // 2)
    pairs = [(2 * i, 2 * i + 1) if interleaved else (i, i + turning // 2) for i in range(turning // 2)]
    wanted = x.clone()
    for pair, (first, second) in enumerate(pairs):
        turned = torch.complex(x[..., first], x[..., second]) * torch.exp(1j * angles[:, pair, None])
        wanted[..., first], wanted[..., second] = turned.real, turned.imag
    torch.testing.assert_close(rotate(x, ops.Rotation(angles.cos(), angles.sin(), interleaved)), wanted)
