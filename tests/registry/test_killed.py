"""The plug is pulled in the middle of every operation: what is listed is whole, and nothing is left for ever."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from unillm.tests.registry.scenes import STORIES, Scene
from unillm.tests.support.fake_hub import FakeHub
from unillm.tests.support.killing import OPERATIONS, Killer, killer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a platform that forks")


@pytest.fixture(scope="module")
def killing() -> Iterator[Killer]:
    with killer() as running:
        yield running


def pull_the_plug(killing: Killer, scene: Scene, operation: str, points: int) -> None:
    old = scene.models()
    steps = killing.run(operation, scene.folder, scene.hub.endpoint).steps
    new = scene.models()
    assert operation == "prune" or new != old
    for number, at in enumerate(sorted({steps * number // points for number in range(points)})):
        scene.reset()
        ended = killing.run(operation, scene.folder, scene.hub.endpoint, at)
        assert ended.killed or at >= ended.steps  # how many pieces a download comes in is up to the machine
        assert scene.models() in (old, new), f"killed before step {at} of {steps}"
        scene.check_borders()
        if number % 2:
            if scene.models() == old or operation == "pull":
                killing.run(operation, scene.folder, scene.hub.endpoint)
            assert scene.models() == new
        scene.check_nothing_is_lost()


@pytest.mark.parametrize("story", STORIES)
def test_a_kill_leaves_the_old_state_or_the_new_one(tmp_path: Path, hub: FakeHub, killing: Killer, story: str) -> None:
    """ST-19, ST-20, at a few points."""
    operation, prepare, _ = STORIES[story]
    assert operation in OPERATIONS
    pull_the_plug(killing, Scene(tmp_path, hub, prepare), operation, 4)


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES)
def test_wherever_it_is_killed(tmp_path: Path, hub: FakeHub, killing: Killer, story: str) -> None:
    """ST-19: 200 points of a pull. ST-20: 100 of each of the others, or every step where there are fewer."""
    operation, prepare, points = STORIES[story]
    pull_the_plug(killing, Scene(tmp_path, hub, prepare), operation, points)
