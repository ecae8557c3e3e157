"""Which layers share a page, and that a slot is as large as the largest layer in it."""

import pytest
import torch

from unillm.models.contract import CacheSpec, PagedLayer
from unillm.runtime.kv.groups import group_layers, slots_of, windows_of
from unillm.runtime.kv.pool import KVPool, PageLayout

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("counts", "slots"),
    [([32], 32), ([4, 22], 4), ([12, 12], 12), ([5, 29], 5), ([8, 24], 8), ([36, 12], 12), ([1, 2], 1), ([10, 52], 11)],
    ids=["one kind", "4 and 22", "1:1", "5 and 29", "1:3", "3:1", "1 and 2", "10 and 52"],
)
def test_groups_are_few_and_waste_little(counts: list[int], slots: int) -> None:
    assert slots_of(counts) == slots


def test_layers_that_see_equally_far_share_pages_and_full_attention_comes_first() -> None:
    groups = group_layers([24, 24, None, 24, 24, None])
    assert windows_of(groups) == (None, 24, 24)
    assert [group.layers for group in groups] == [(2, 5), (0, 1), (3, 4)]


def test_layers_without_windows_are_one_group() -> None:
    assert [group.layers for group in group_layers([None] * 3)] == [(0, 1, 2)]


def test_layers_of_several_groups_share_the_memory_of_a_slot() -> None:
    layers = (PagedLayer(1, 8), PagedLayer(2, 2, 24), PagedLayer(1, 4, 24))
    layout = PageLayout.of(CacheSpec(layers), 16, torch.float32)
    assert (layout.widths, layout.token_bytes) == ((8,), 64)
    pool = KVPool(layout, 4, CPU)
    assert [tuple(keys.shape) for keys in pool.keys] == [(5, 16, 1, 8), (5, 16, 2, 2), (5, 16, 1, 4)]
    assert len({keys.data_ptr() for keys in pool.keys}) == 1
    pool.keys[0][2] = 1
    assert pool.keys[1][2].eq(1).all()
    assert not pool.keys[1][3].any()
    assert not any(values.any() for values in pool.values)
