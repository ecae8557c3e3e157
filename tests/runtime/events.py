"""Whatever may happen to an engine over the fake model, in any order: requests come, are left, read to their end."""

from random import Random

from unillm.runtime.engine import Engine
from unillm.tests.runtime.engines import greedy
from unillm.tests.runtime.fakes import FakeModel

MOST_ALIVE = 10
LONGEST = 31  # tokens, prompt and answer: what a pool of eight pages of four holds


class Events:
    """Events at `engine` by `chance`, `checked` of them (a share) followed by a look whether every page has one owner.

    What ends by itself is what `model` says without any cache; what was aborted is a beginning of that.
    """

    def __init__(
        self, engine: Engine, model: FakeModel, chance: Random, *, priorities: list[int], checked: float = 1.0
    ) -> None:
        self._engine, self._model, self._chance = engine, model, chance
        self._priorities, self._checked = priorities, checked
        self._alive: dict[str, tuple[list[int], int]] = {}

    def happen(self, count: int) -> None:
        """So many of them; then all that is alive is read to its end."""
        for _ in range(count):
            self._one(self._chance.random())
            if self._chance.random() < self._checked:
                self._engine.check()
        for id_ in list(self._alive):
            self._follow(id_)

    def _one(self, event: float) -> None:
        if event < 0.25 and len(self._alive) < MOST_ALIVE:
            self._submit()
        elif event < 0.32 and self._alive:
            self._engine.abort(self._chance.choice(list(self._alive)))
        elif event < 0.38 and self._alive:
            self._follow(self._chance.choice(list(self._alive)))
        else:
            self._engine.step()

    def _submit(self) -> None:
        ids = [self._chance.choice([3, 4]) for _ in range(self._chance.randint(1, 20))]
        count = self._chance.randint(1, LONGEST - len(ids))
        id_ = self._engine.submit(ids, greedy(count), priority=self._chance.choice(self._priorities))
        self._alive[id_] = (ids, count)

    def _follow(self, id_: str) -> None:
        ids, count = self._alive.pop(id_)
        last = list(self._engine.follow(id_))[-1].completion
        assert last is not None
        answer = self._model.answer(ids, count)
        assert list(last.token_ids) == (answer if last.finish_reason == "length" else answer[: len(last.token_ids)])
        assert last.finish_reason in ("length", "abort")
