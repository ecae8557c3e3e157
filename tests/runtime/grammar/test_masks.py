"""What a guide allows of one token is what its bits say of it, and choosing again leaves every token its chance."""

import json
from collections import Counter
from random import Random

import numpy as np
import pytest
import torch

from unillm.runtime.grammar.compiler import Grammars
from unillm.runtime.grammar.forms import Form
from unillm.runtime.grammar.guide import Bits, Guide
from unillm.runtime.params import SamplingParams
from unillm.runtime.sampler import Chooser, Row, Sample, sample
from unillm.tests.runtime.fakes import ByteTokenizer
from unillm.tests.runtime.text.tiny import byte_level_json, byte_level_keys, from_keys

PAIRS = {
    "type": "object",
    "properties": {"plain words": {"type": "string", "maxLength": 5}, "list": {"type": "array", "maxItems": 2}},
    "required": ["plain words", "list"],
}
FORMS = [
    Form("schema", json.dumps(PAIRS)),
    Form("schema", '{"enum": ["red", "redder", null, 2.5]}'),
    Form("regex", "[a-f]{2,5}( yes| no)?é*"),
    Form("choice", '["alpha", "alphabet", "<|im_end|>"]'),
    Form("grammar", 'start: "a"+ <|im_end|> /[0-9]+/'),
]


def told(guide: Guide, guess: tuple[int, ...] = ()) -> list[bool]:
    bits: Bits = np.zeros((1, guide.words), dtype=np.uint32)
    guide.fill(bits, [guess])
    return np.unpackbits(bits.view(np.uint8), count=guide.size, bitorder="little").astype(bool).tolist()


def asked(guide: Guide, guess: tuple[int, ...] = ()) -> list[bool]:
    return [guide.allows([token], [guess])[0] for token in range(guide.size)]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.field)
def test_a_token_may_come_where_its_bit_says_so(form: Form) -> None:
    tokenizer = from_keys(byte_level_keys(byte_level_json()))
    assert tokenizer is not None
    end = tokenizer.added_tokens["<|im_end|>"]
    size = tokenizer.vocab_size + 5  # as where a model's table is longer
    random = Random(5)
    for _ in range(3):
        guide = Grammars("the model", tokenizer, size).guide(form, [end])
        for _ in range(12):
            bits = told(guide)
            assert asked(guide) == bits
            may = [token for token, is_set in enumerate(bits) if is_set and token != end]
            if not may:
                break
            token = random.choice(may)
            assert asked(guide, (token,)) == told(guide, (token,))
            guide.saw(token)
            if guide.is_complete:
                break


def test_many_places_are_asked_at_once_and_leave_the_guide_where_it_was() -> None:
    guide = Grammars("the model", ByteTokenizer(), 258).guide(Form("regex", "abc?d"), [257])
    a, b, c, d = b"abcd"
    guesses = [[], [a], [a, b], [a, b, d]]
    assert guide.allows([a, b, d, 257], guesses) == [True, True, True, True]
    assert guide.allows([b, a, a, a], guesses) == [False, False, False, True]  # nobody reads what follows the end
    assert guide.allows([a], [[]]) == [True]
    assert guide.allows([c, c], [[b], [b, b]]) == [True, True]  # nor what follows a token that may not come


def drawn(weights: dict[str, float], regex: str, **how: float) -> Counter[str]:
    """How often each letter comes, of many seeds."""
    scores = torch.full((1, 258), -1e9)
    for letter, weight in weights.items():
        scores[0, ord(letter)] = float(np.log(weight))
    grammars = Grammars("the model", ByteTokenizer(), 258)
    found: Counter[str] = Counter()
    for seed in range(2000):
        guide = grammars.guide(Form("regex", regex), [257])
        params = SamplingParams(temperature=1, seed=seed, **how)  # type: ignore[arg-type]
        (one,) = sample(scores, [Row(Chooser(params, guide=guide), 7)])
        assert isinstance(one, Sample)
        found[chr(one.token)] += 1
    return found


def test_what_may_come_keeps_its_share() -> None:
    """Of a distribution cut to what may come, as if the grammar had been asked first."""
    found = drawn({"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.3}, "[abd]")
    assert found.keys() == set("abd")
    for letter, share in {"a": 1 / 6, "b": 2 / 6, "d": 3 / 6}.items():
        assert abs(found[letter] / 2000 - share) < 4 * (share * (1 - share) / 2000) ** 0.5


def test_where_the_filters_leave_nothing_that_may_come_they_choose_from_what_may() -> None:
    assert drawn({"a": 0.1, "b": 0.2, "c": 0.7}, "[ab]", top_k=1) == {"b": 2000}
