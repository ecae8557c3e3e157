"""Under pressure somebody always gets on; what is taken away meanwhile is not missed; a prefix is only ever its own."""

import random
import shutil
from pathlib import Path

import pytest

from unillm.runtime.engine import Engine
from unillm.runtime.errors import EngineClosed
from unillm.runtime.kv.hashed import HashedPrefixes
from unillm.runtime.kv.radix import RadixTree
from unillm.runtime.sequence import State
from unillm.tests.models.zoo import BY_NAME, prompt, reference, save
from unillm.tests.runtime.driving import Arrivals, scheduler, step
from unillm.tests.runtime.engines import engine_over, greedy, make_engine, swap_that_keeps_all
from unillm.tests.runtime.fakes import ByteTokenizer, FakeModel


@pytest.mark.parametrize("seed", range(20))
def test_in_a_storm_of_giving_way_somebody_finishes_every_so_often(seed: int) -> None:
    """EN-04: who is eldest never gives way, so that nobody waits longer than one request takes alone."""
    chance = random.Random(seed)
    target, arrive = scheduler(pages=8, page_size=4, batch_tokens=chance.randint(9, 40)), Arrivals()
    alive = [arrive(chance.randint(1, 12), more=chance.randint(8, 20)) for _ in range(30)]
    for sequence in alive:
        target.add(sequence)
    longest = max(sequence.limit for sequence in alive)
    since = 0
    while alive:
        step(target)
        left = [sequence for sequence in alive if sequence.state is not State.FINISHED]
        since = 0 if len(left) < len(alive) else since + 1
        assert since <= longest
        alive = left
    assert target.gave_way > 0


@pytest.mark.parametrize("keeps", [True, False])
def test_when_all_need_a_page_at_once_and_there_is_none_all_still_answer_right(keeps: bool) -> None:
    """EN-04: pages of four, prompts of four, and a pool that they fill."""
    model = FakeModel()
    asked = [[number + 1, 2, 3, 4] for number in range(6)]
    with engine_over(model, pages=10, prefix_cache="off") as engine:
        if keeps:
            swap_that_keeps_all(engine)
        done = engine.generate(asked, greedy(24))
        assert [list(one.token_ids) for one in done] == [model.answer(ids, 24) for ids in asked]
        assert engine.stats().gave_way > 3


def test_a_model_whose_files_are_removed_while_it_answers_goes_on(tmp_path: Path) -> None:
    """EN-08."""
    row = BY_NAME["llama3.2"]
    save(reference(row), tmp_path / "kept")
    shutil.copytree(tmp_path / "kept", tmp_path / "gone")
    with Engine.load(tmp_path / "kept") as kept, Engine.load(tmp_path / "gone") as engine:
        stream = engine.stream(prompt(row), greedy(20))
        tokens = [*next(stream).token_ids]
        shutil.rmtree(tmp_path / "gone")
        tokens += [token for update in stream for token in update.token_ids]
        assert tokens == list(kept.generate(prompt(row), greedy(20)).token_ids)


def test_an_engine_closed_while_a_prompt_is_cut_refuses_it() -> None:
    """EN-08."""

    class Closing(ByteTokenizer):
        def encode(self, text: str, *, special: bool = False, bos: bool | None = None) -> list[int]:
            engine.close()
            return super().encode(text, special=special, bos=bos)

    engine = make_engine(FakeModel(), tokenizer=Closing())
    with pytest.raises(EngineClosed):
        engine.generate("abc", greedy(3))


@pytest.mark.parametrize("kind", [RadixTree, HashedPrefixes])
def test_tokens_of_the_same_hash_are_not_the_same_prefix(kind: type[RadixTree] | type[HashedPrefixes]) -> None:
    """EN-10."""
    prefixes = kind(2)
    mine, other = [5, 6], [5 + 2**61 - 1, 6]
    assert hash(tuple(mine)) == hash(tuple(other))
    prefixes.extend(prefixes.root, mine, 0, [10])
    assert prefixes.match(other, 1)[1] == []
    assert prefixes.match(mine, 1)[1] == [10]


def test_two_models_never_share_a_prefix() -> None:
    """EN-10: what one has computed is not found by another, though it stands beside it and is asked the same."""
    first, second = FakeModel(), FakeModel()
    second.scores = second.scores.flip(0)
    ids = list(range(1, 40))
    with engine_over(first) as one, engine_over(second) as other:
        assert list(one.generate(ids, greedy(5)).token_ids) == first.answer(ids, 5)
        done = other.generate(ids, greedy(5))
        assert (done.usage.cached_tokens, list(done.token_ids)) == (0, second.answer(ids, 5))
