"""Prompt look-up finds what followed the same tokens before, and learns how far to trust it."""

from unillm.runtime.params import SamplingParams
from unillm.runtime.sampler import Chooser
from unillm.runtime.sequence import Sequence
from unillm.runtime.speculation.ngram import MOST, NgramProposer
from unillm.runtime.speculation.proposer import Wanted

CHOOSER = Chooser(SamplingParams())


def guess_of(tokens: list[int], most: int = MOST) -> list[int]:
    proposer, sequence = NgramProposer(), Sequence(1, tokens, 1000)
    prospect = proposer.prospect(sequence)
    return proposer.propose([Wanted(sequence, CHOOSER, min(most, prospect.most))])[0] if prospect.most else []


def test_what_followed_last_time_is_proposed() -> None:
    assert guess_of([1, 2, 3, 4, 5, 6, 7, 1, 2], 4) == [3, 4, 5, 6]
    assert guess_of([1, 2, 3, 9, 1, 2, 4, 9, 1, 2], 2) == [4, 9]


def test_a_repetition_goes_on_for_ever() -> None:
    assert guess_of([5, 1, 2, 3, 1, 2, 3, 1, 2], 7) == [3, 1, 2, 3, 1, 2, 3]
    assert guess_of([7, 7, 7, 7], 5) == [7] * 5


def test_where_nothing_repeats_there_is_nothing_to_propose() -> None:
    assert guess_of([1]) == guess_of([1, 2]) == guess_of([1, 2, 3, 4, 5, 6]) == []


def test_each_length_of_match_is_trusted_by_how_it_fared() -> None:
    proposer, sequence = NgramProposer(), Sequence(1, [1, 2, 3, 9, 1, 2], 1000)
    first = proposer.prospect(sequence).chance
    for _ in range(30):
        proposer.prospect(sequence)
        proposer.heard(sequence, [], [8])
    assert proposer.prospect(sequence).chance < first / 3
    sequence.tokens += [3, 9, 1, 2]
    assert proposer.prospect(sequence).chance > first
    proposer.forget(sequence)
    assert proposer.prospect(sequence).chance > first
