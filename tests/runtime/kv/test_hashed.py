"""The hash table of prefixes keeps what the radix tree promises, and evicts as a plain model of it does."""

import random
from collections.abc import Sequence

from unillm.runtime.kv.hashed import HashedPrefixes
from unillm.runtime.kv.radix import RadixTree

PAGE = 2


def found(table: HashedPrefixes | RadixTree, tokens: Sequence[int]) -> list[int]:
    return table.match(tokens, len(tokens) // PAGE)[1]


def table_with(*paths: tuple[Sequence[int], Sequence[int]]) -> HashedPrefixes:
    table = HashedPrefixes(PAGE)
    for tokens, pages in paths:
        table.extend(table.root, tokens, 0, pages)
    return table


def test_a_prefix_is_found_whole_pages_only_and_behind_its_own_past_only() -> None:
    table = table_with(([1, 2, 3, 4, 5, 6], [10, 11, 12]))
    assert found(table, [1, 2, 3, 4, 5, 6, 7]) == [10, 11, 12]
    assert found(table, [1, 2, 3, 4, 5, 9]) == [10, 11]
    assert found(table, [3, 4, 5, 6]) == []
    assert found(table, [9, 9, 3, 4]) == []


def test_a_page_that_another_brought_first_stays_the_one() -> None:
    table = table_with(([1, 2, 3, 4], [10, 11]))
    _, pages = table.extend(table.root, [1, 2, 7, 8], 0, [20, 22])
    assert (pages, table.pages) == ([10, 22], 3)


def test_a_held_path_stays_while_the_rest_goes() -> None:
    table = table_with(([1, 2, 3, 4], [10, 11]), ([5, 6, 7, 8], [20, 21]))
    node, _ = table.match([1, 2, 3, 4], 2)
    table.hold(node)
    assert table.idle == 2
    assert table.evict(10) == [21, 20]
    table.release(node)
    assert table.evict(10) == [11, 10]
    assert table.pages == table.idle == 0


def test_the_least_recently_used_goes_first_and_from_its_tail() -> None:
    table = table_with(([1, 1, 2, 2], [10, 11]), ([3, 3, 4, 4], [20, 21]), ([5, 5], [30]))
    found(table, [1, 1, 2, 2])
    assert [table.evict(1) for _ in range(5)] == [[21], [20], [30], [11], [10]]


def test_dropping_a_path_takes_what_nobody_shares() -> None:
    table = table_with(([1, 1, 2, 2, 3, 3], [10, 11, 12]), ([1, 1, 9, 9], [10, 20]))
    node, _ = table.match([1, 1, 2, 2, 3, 3], 3)
    assert table.drop(node) == [12, 11]
    assert found(table, [1, 1, 9, 9]) == [10, 20]


def test_it_finds_what_the_radix_tree_finds_through_holds_and_releases() -> None:
    for seed in range(50):
        chance = random.Random(seed)
        table, tree = HashedPrefixes(PAGE), RadixTree(PAGE)
        fresh = 0
        held = []
        for _ in range(60):
            tokens = [chance.randrange(2) for _ in range(PAGE * chance.randint(1, 6))]
            pages = list(range(fresh, fresh + len(tokens) // PAGE))
            fresh += len(pages)
            assert found(table, tokens) == found(tree, tokens)
            mine, theirs = (index.extend(index.root, tokens, 0, pages) for index in (table, tree))
            assert mine[1] == theirs[1]
            table.hold(mine[0])
            tree.hold(theirs[0])
            held.append((mine[0], theirs[0]))
            if len(held) > 3:
                ours, others = held.pop(chance.randrange(len(held)))
                table.release(ours)
                tree.release(others)
            assert (table.pages, table.idle) == (tree.pages, tree.idle)


def test_no_page_is_evicted_before_those_that_follow_it() -> None:
    for seed in range(100):
        chance = random.Random(seed)
        table, held = HashedPrefixes(1), []
        for page in range(0, 400, 10):
            tokens = [chance.randrange(2) for _ in range(chance.randint(1, 6))]
            node, _ = table.extend(table.root, tokens, 0, range(page, page + len(tokens)))
            if chance.random() < 0.7:
                table.hold(node)
                held.append(node)
            if held and chance.random() < 0.6:
                table.release(held.pop(chance.randrange(len(held))))
            table.evict(chance.randrange(3))
            reachable, stack = 0, [table.root]
            while stack:
                children = stack.pop().children.values()
                reachable += len(children)
                stack += children
            assert reachable == table.pages
