"""The disk fails, or the power does, at each step of each operation: the old state or the new one, and plain words."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from unillm.tests.registry.scenes import STORIES, Scene
from unillm.tests.support.fake_hub import FakeHub
from unillm.tests.support.faulty_disk import OUTCOMES, STRUCK_BY, Outcome, states
from unillm.tests.support.killing import Killer, killer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks behind descriptors as only Linux lets one")
EVERYWHERE = 10**6


@pytest.fixture(scope="module")
def killing() -> Iterator[Killer]:
    with killer() as running:
        yield running


def spread(count: int, points: int) -> list[int]:
    """`points` of the numbers below `count`, evenly, the last among them; all, where there are no more."""
    return sorted({count - 1 - count * number // points for number in range(points)} - {-1})


# Power


def lose_power(killing: Killer, scene: Scene, operation: str, points: int, outcomes: tuple[Outcome, ...]) -> None:
    old = scene.models()
    journal = killing.record(operation, scene.folder, scene.hub.endpoint)
    new = scene.models()
    chosen = spread(len(journal) + 1, points)
    for number, disk in enumerate(states(scene.before, scene.folder, journal)):
        if number not in chosen:
            continue
        for outcome in outcomes:
            shutil.rmtree(scene.folder)
            disk.leave(scene.folder, outcome, seed=number)
            found = scene.models()
            where = f"power lost after {number} of {len(journal)} changes: {journal[max(0, number - 1)][:2]}; {outcome}"
            assert found in (old, new), where
            if number == len(journal):
                assert found == new, f"it was said to be done; {where}"
            scene.check_borders()
            if operation == "pull":
                killing.run(operation, scene.folder, scene.hub.endpoint)
                assert scene.models() == new, where
            scene.check_nothing_is_lost()


@pytest.mark.parametrize("story", STORIES)
def test_a_power_loss_leaves_the_old_state_or_the_new_one(
    tmp_path: Path, hub: FakeHub, killing: Killer, story: str
) -> None:
    """ST-21, at a few steps, the last among them."""
    operation, prepare, _ = STORIES[story]
    lose_power(killing, Scene(tmp_path, hub, prepare), operation, 4, OUTCOMES)


@pytest.mark.slow
@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("story", STORIES)
def test_whenever_the_power_is_lost(
    tmp_path: Path, hub: FakeHub, killing: Killer, story: str, outcome: Outcome
) -> None:
    """ST-21, after every change to the disk."""
    operation, prepare, _ = STORIES[story]
    lose_power(killing, Scene(tmp_path, hub, prepare), operation, EVERYWHERE, (outcome,))


# Errors


def fail(killing: Killer, scene: Scene, operation: str, error: str, points: int) -> None:
    old = scene.models()
    killing.run(operation, scene.folder, scene.hub.endpoint)
    new = scene.models()
    scene.reset()
    count = killing.strike(operation, scene.folder, scene.hub.endpoint, error, EVERYWHERE, lasting=False).steps
    for number, at in enumerate(spread(count, points)):
        for lasting in (False, True) if points == EVERYWHERE else (bool(number % 2),):
            scene.reset()
            struck = killing.strike(operation, scene.folder, scene.hub.endpoint, error, at, lasting=lasting)
            where = f"{error} at step {at} of {count}{' and all after it' * lasting}"
            assert struck.models in (old, new), where
            if struck.said is None:
                assert struck.models == new, where
            else:
                assert str(tmp_in(scene)) in struck.said, f"{where}: {struck.said}"
                assert says(error, struck.said), f"{where}: {struck.said}"
                assert struck.again is None or gone_already(operation, struck.models, new), f"{where}: {struck.again}"
            assert scene.models() == new, where
            scene.check_borders()
            scene.check_nothing_is_lost()


def tmp_in(scene: Scene) -> Path:
    return scene.folder


def says(error: str, words: str) -> bool:
    text = os.strerror(getattr(__import__("errno"), error))
    return text in words or (error in ("ENOSPC", "EDQUOT") and "free" in words) or "cannot be" in words


def gone_already(operation: str, models: dict[str, str], new: dict[str, str]) -> bool:
    """What was done all the same cannot be done again: a name that is taken, a model that is gone."""
    return operation in ("cp", "rm") and models == new


@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EMFILE"])
def test_a_failing_disk_is_told_and_does_no_harm(tmp_path: Path, hub: FakeHub, killing: Killer, error: str) -> None:
    """ST-22, at a few steps of each operation."""
    for story in ("pull", "create", "cp", "rm", "prune"):
        operation, prepare, _ = STORIES[story]
        (tmp_path / story).mkdir()
        fail(killing, Scene(tmp_path / story, hub, prepare), operation, error, 2)


@pytest.mark.slow
@pytest.mark.parametrize("error", STRUCK_BY)
@pytest.mark.parametrize("story", STORIES)
def test_wherever_the_disk_fails(tmp_path: Path, hub: FakeHub, killing: Killer, story: str, error: str) -> None:
    """ST-22, at every step: once, and for good from there on."""
    operation, prepare, _ = STORIES[story]
    fail(killing, Scene(tmp_path, hub, prepare), operation, error, EVERYWHERE)
