"""The CPU kernels as they are by default, with activations in 8 bits: how far from exact, and the same bits for a token
whatever comes with it.
"""

from pathlib import Path

import pytest
import torch

from unillm.models import ops
from unillm.models.contract import Model, Part
from unillm.models.quantized import TILED, QuantizedTensor
from unillm.runtime.engine import Engine
from unillm.runtime.options import EngineOptions
from unillm.runtime.weights.load import load_model, open_weights
from unillm.tests.models import zoo
from unillm.tests.models.gguf_files import K_KINDS, QUANTISED_KINDS, write_gguf
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import EXACT, ROUNDED, distance
from unillm.tests.runtime.engines import greedy

pytestmark = pytest.mark.skipif(ROUNDED.kernels is None, reason="the CPU kernels are not built here")

# Of the largest score. Rounding to 8 bits moves a product by some 0.4 % of its size, and layers add up.
ERROR = 0.03


@pytest.mark.parametrize("kind", QUANTISED_KINDS + K_KINDS)
@pytest.mark.parametrize("name", ["llama3.2", "qwen2", "qwen3"])
def test_rounded_activations_stay_close_to_exact_ones(name: str, kind: str, tmp_path: Path) -> None:
    row = zoo.BY_NAME[name].wide()
    files, ids = write_gguf(row, tmp_path, kind).files, zoo.prompt(row)
    exact, rounded = (Pages(load_model(files, place)).whole(ids) for place in (EXACT, ROUNDED))
    assert 1e-5 < distance(rounded, exact) <= ERROR
    assert float((rounded - exact).norm() / exact.norm()) <= ERROR


@pytest.fixture(scope="module", params=["Q4_0", "Q4_K", "Q8_0"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder: Path = tmp_path_factory.mktemp(request.param)
    return load_model(write_gguf(ROW, folder, request.param).files, ROUNDED)


ROW = zoo.BY_NAME["llama3.2"].wide()


def test_what_was_packed_may_be_read_from_the_file_again(tmp_path: Path) -> None:
    """Its pages were given back when the copy was made."""
    weights = open_weights(write_gguf(ROW, tmp_path, "Q8_0").files)
    before = weights.load_tensor("blk.0.ffn_down.weight")
    assert isinstance(before, QuantizedTensor)
    numbers = before.dequantize()
    weights.release("blk.0.ffn_down.weight")
    assert torch.equal(before.dequantize(), numbers)


def test_tiles_are_cut_at_their_borders_and_unpacked_by_nobody_else() -> None:
    assert ROUNDED.kernels is not None
    packed = ROUNDED.kernels.pack(QuantizedTensor("Q8_0", (40, 64), torch.zeros(40, 68, dtype=torch.uint8)))
    assert packed.part(Part(0, 16, 40)).shape == (24, 64)
    for part in (Part(0, 8, 40), Part(0, 0, 24), Part(1, 0, 32)):
        with pytest.raises(ValueError, match="not cut"):
            packed.part(part)
    with pytest.raises(ValueError, match="tiles16"):
        packed.dequantize()
    with pytest.raises(LookupError, match="tiles16 on cpu"):
        ops.linear(torch.zeros(1, 64), [packed], [None])


def test_a_tied_head_shares_the_packed_table(model: Model) -> None:
    tables = [
        w for w in model.weights() if isinstance(w, QuantizedTensor) and w.shape[0] == zoo.config_of(ROW).vocab_size
    ]
    assert [table.layout for table in tables] == [TILED]


@pytest.mark.parametrize("sizes", [(32, 1, 20, 17), (1,) * zoo.PROMPT, (69, 1)], ids=["chunks", "steps", "last"])
def test_however_a_sequence_is_cut_the_bits_are_the_same(model: Model, sizes: tuple[int, ...]) -> None:
    ids = zoo.prompt(ROW)
    assert torch.equal(Pages(model).pieces(ids, sizes), Pages(model).whole(ids))


def test_a_batch_computes_each_sequence_as_if_alone_bit_for_bit(model: Model) -> None:
    prompts = {sequence: zoo.prompt(ROW, length, seed=sequence) for sequence, length in enumerate((40, 70, 5, 33, 1))}
    together = Pages(model).run(prompts)
    assert all(torch.equal(together[sequence], Pages(model).whole(ids)) for sequence, ids in prompts.items())


def test_an_engine_gives_each_of_many_the_answer_and_the_scores_that_it_gives_one(model: Model) -> None:
    asked = [zoo.prompt(ROW, 12 + 5 * seed, seed) for seed in range(6)]
    with engine_of(model, 17) as busy, engine_of(model, 512) as idle:
        together = busy.generate(asked, greedy(24))
        assert [one.token_ids for one in together] == [idle.generate(ids, greedy(24)).token_ids for ids in asked]
        assert all(torch.equal(busy.logits(ids), idle.logits(ids)) for ids in asked)


def engine_of(model: Model, batch_tokens: int) -> Engine:
    options = EngineOptions(batch_tokens=batch_tokens, sequences=8, kv_memory=1 << 24, page_size=8, prefix_cache="off")
    return Engine(model, options=options)
