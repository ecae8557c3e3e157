"""The prefix tree: what it finds, what it keeps, and what it lets go first."""

import random
from collections.abc import Sequence

from unillm.runtime.kv.radix import RadixTree

PAGE = 2


def tree_with(*paths: tuple[Sequence[int], Sequence[int]]) -> RadixTree:
    tree = RadixTree(PAGE)
    for tokens, pages in paths:
        tree.extend(tree.root, tokens, 0, pages)
    return tree


def found(tree: RadixTree, tokens: Sequence[int]) -> list[int]:
    return tree.match(tokens, len(tokens) // PAGE)[1]


def test_a_prefix_is_found_whole_pages_only() -> None:
    tree = tree_with(([1, 2, 3, 4, 5, 6], [10, 11, 12]))
    assert found(tree, [1, 2, 3, 4, 5, 6, 7]) == [10, 11, 12]
    assert found(tree, [1, 2, 3, 4, 5, 9]) == [10, 11]
    assert found(tree, [1, 2, 3]) == [10]
    assert found(tree, [2, 1]) == []


def test_no_more_pages_are_matched_than_asked_for() -> None:
    tree = tree_with(([1, 2, 3, 4, 5, 6], [10, 11, 12]))
    assert tree.match([1, 2, 3, 4, 5, 6], 2)[1] == [10, 11]


def test_paths_that_part_in_the_middle_of_a_run_share_its_head() -> None:
    tree = tree_with(([1, 2, 3, 4, 5, 6], [10, 11, 12]))
    _, pages = tree.extend(tree.root, [1, 2, 3, 4, 7, 8], 0, [20, 21, 22])
    assert pages == [10, 11, 22]
    assert tree.pages == 4
    assert found(tree, [1, 2, 3, 4, 5, 6]) == [10, 11, 12]
    assert found(tree, [1, 2, 3, 4, 7, 8]) == [10, 11, 22]


def test_a_held_path_stays_while_the_rest_goes() -> None:
    tree = tree_with(([1, 2, 3, 4], [10, 11]), ([5, 6, 7, 8], [20, 21]))
    node, _ = tree.match([1, 2, 3, 4], 2)
    tree.hold(node)
    assert tree.idle == 2
    assert sorted(tree.evict(10)) == [20, 21]
    assert found(tree, [1, 2, 3, 4]) == [10, 11]
    tree.release(node)
    assert sorted(tree.evict(10)) == [10, 11]
    assert tree.pages == tree.idle == 0


def test_a_hold_survives_a_split_above_it() -> None:
    tree = tree_with(([1, 2, 3, 4, 5, 6], [10, 11, 12]))
    node, _ = tree.match([1, 2, 3, 4, 5, 6], 3)
    tree.hold(node)
    tree.extend(tree.root, [1, 2, 9, 9], 0, [10, 30])
    assert tree.evict(10) == [30]
    assert found(tree, [1, 2, 3, 4, 5, 6]) == [10, 11, 12]
    tree.release(node)
    assert sorted(tree.evict(10)) == [10, 11, 12]


def test_the_least_recently_used_goes_first_and_from_its_tail() -> None:
    tree = tree_with(([1, 1, 2, 2], [10, 11]), ([3, 3, 4, 4], [20, 21]), ([5, 5], [30]))
    found(tree, [1, 1, 2, 2])
    assert tree.evict(1) == [21]
    assert tree.evict(2) == [20, 30]
    assert tree.evict(1) == [11]
    assert tree.evict(5) == [10]


def test_a_shared_head_goes_when_its_own_time_has_come() -> None:
    tree = tree_with(([1, 1, 2, 2], [10, 11]), ([5, 5], [30]), ([1, 1, 3, 3], [10, 12]))
    assert [tree.evict(1) for _ in range(4)] == [[11], [30], [12], [10]]


def test_dropping_a_path_takes_what_nobody_shares() -> None:
    tree = tree_with(([1, 1, 2, 2, 3, 3], [10, 11, 12]), ([1, 1, 9, 9], [10, 20]))
    node, _ = tree.match([1, 1, 2, 2, 3, 3], 3)
    assert sorted(tree.drop(node)) == [11, 12]
    assert found(tree, [1, 1, 9, 9]) == [10, 20]
    assert tree.pages == 2


def test_stale_entries_do_not_pile_up() -> None:
    tree = tree_with(([1, 1], [10]))
    for _ in range(10_000):
        tree.hold(node := tree.match([1, 1], 1)[0])
        tree.release(node)
    assert len(tree._leaves) < 1000


def test_eviction_follows_a_plain_model_of_it() -> None:
    """Against the definition: of all pages with no page below them and no holder, the one last used longest ago."""
    chance = random.Random(7)
    for _ in range(50):
        tree, used = RadixTree(1), {}
        for page in range(40):
            tokens = [chance.randrange(2) for _ in range(chance.randint(1, 6))]
            _, pages = tree.extend(tree.root, tokens, 0, [100 * page + i for i in range(len(tokens))])
            for depth in range(len(tokens)):
                used[tuple(tokens[: depth + 1])] = (page, pages[depth])
        while used:
            tips = [
                path for path in used if not any(len(other) == len(path) + 1 and other[:-1] == path for other in used)
            ]
            oldest = min(used[path][0] for path in tips)
            taken = tree.evict(1)[0]
            assert taken in {used[path][1] for path in tips if used[path][0] == oldest}
            used = {path: entry for path, entry in used.items() if entry[1] != taken}
        assert tree.pages == 0
