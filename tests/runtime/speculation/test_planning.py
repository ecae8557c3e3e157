"""How many tokens are worth guessing, and what is known of the cost of a step."""

import pytest

from unillm.runtime.speculation.chance import Chance
from unillm.runtime.speculation.costs import STALE, StepCosts, place_of
from unillm.runtime.speculation.planning import plan
from unillm.runtime.speculation.proposer import Prospect


def free(_: int) -> float:
    return 0.0


def flat(_: int) -> float:
    return 1.0


def linear(rows: int) -> float:
    return float(rows)


def test_where_rows_are_free_all_are_taken_and_where_they_cost_as_much_as_steps_none() -> None:
    hopes = [Prospect(7, 0.9), Prospect(0, 0.0)]
    assert plan(hopes[:1], seconds=flat, drafting=free, most=100) == [7]
    assert plan(hopes, seconds=linear, drafting=free, most=100) == [0, 0]


def test_the_likeliest_tokens_go_first_whosesoever_they_are() -> None:
    assert plan([Prospect(15, 0.9), Prospect(15, 0.1)], seconds=flat, drafting=free, most=6) == [6, 0]
    assert plan([Prospect(15, 0.5), Prospect(15, 0.5)], seconds=flat, drafting=free, most=2) == [1, 1]


def test_a_cliff_in_the_costs_ends_a_guess_before_it() -> None:
    def cliff(rows: int) -> float:
        return 1.0 if rows <= 3 else 2.5

    assert plan([Prospect(15, 0.6)], seconds=cliff, drafting=free, most=100) == [2]
    assert plan([Prospect(15, 0.97)], seconds=cliff, drafting=free, most=100) == [15]


def test_a_draft_as_slow_as_the_model_is_not_asked() -> None:
    assert plan([Prospect(8, 0.98)], seconds=flat, drafting=linear, most=100) == [0]
    assert plan([Prospect(8, 0.9)], seconds=flat, drafting=lambda depth: 0.1 * depth, most=100)[0] >= 3


def test_a_chance_follows_what_came_true_of_late() -> None:
    chance = Chance(0.5)
    for _ in range(40):
        chance.note([1, 2, 3], [1, 2, 3])
    assert chance.value > 0.9
    for _ in range(40):
        chance.note([1, 2, 3], [7])
    assert chance.value < 0.2
    for _ in range(200):
        chance.fade()
    assert chance.value == pytest.approx(0.5, abs=0.01)


def test_only_what_was_tried_counts_in_a_chance() -> None:
    once, thrice = Chance(0.5), Chance(0.5)
    once.note([1], [1, 2])
    thrice.note([1, 9, 9, 9], [1, 2])
    assert once.tries == 1
    assert thrice.tries == pytest.approx(1.95)
    assert thrice.hits == pytest.approx(0.95)


def test_costs_are_those_of_steps_and_the_unknown_is_hoped_to_be_cheap() -> None:
    costs = StepCosts()
    for _ in range(3):
        costs.note(1, 0.010)
    assert costs.seconds(1) == 0.010
    assert 0.010 < costs.seconds(4) < 0.012
    costs.note(4, 5.0)  # the first of its kind sets things up
    assert costs.seconds(4) < 0.012
    for _ in range(5):
        costs.note(4, 0.030)
    assert costs.seconds(4) == 0.030
    assert costs.seconds(3) < 0.012


def test_a_size_of_step_that_was_not_seen_for_long_is_tried_again() -> None:
    costs = StepCosts()
    for _ in range(5):
        costs.note(8, 9.0)
    for _ in range(2 * STALE):
        costs.note(1, 0.010)
    assert costs.seconds(8) < 0.02


def test_small_steps_are_told_apart_and_large_ones_by_a_quarter() -> None:
    assert [place_of(rows) for rows in range(1, 17)] == [1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16, 16, 16, 16]
    assert place_of(33) == 48
