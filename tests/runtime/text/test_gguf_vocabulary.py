"""What a GGUF's tokenizer keys must be, and what they come to."""

from typing import Any

import pytest

from unillm.runtime.text.errors import TokenizerFault
from unillm.runtime.text.gguf_vocabulary import read_vocabulary
from unillm.runtime.text.splits import SPLITS
from unillm.tests.runtime.text.tiny import (
    byte_level_json,
    byte_level_keys,
    changed,
    from_keys,
    sentencepiece_keys,
    sentencepiece_model,
)

BYTES: Any = byte_level_keys(byte_level_json())
PIECES: Any = sentencepiece_keys(sentencepiece_model())
TOKENS, MERGES = BYTES["tokenizer.ggml.tokens"], BYTES["tokenizer.ggml.merges"]
KINDS, SCORES = BYTES["tokenizer.ggml.token_type"], PIECES["tokenizer.ggml.scores"]

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no tokens": (changed(BYTES, tokens=None), "tokens: is missing"),
    "no token at all": (changed(BYTES, tokens=[], token_type=None), "tokens: is empty"),
    "tokens are numbers": (changed(BYTES, tokens=[1, 2, 3]), "tokens: is not an array of strings"),
    "tokens are one string": (changed(BYTES, tokens="abc"), "tokens: is not an array"),
    "a token twice": (changed(BYTES, tokens=[*TOKENS[:-1], TOKENS[0]]), "tokens: '<s>' is there twice, as 0 and as"),
    "kinds too short": (changed(BYTES, token_type=KINDS[:-1]), r"token_type: has \d+ entries for \d+ tokens"),
    "kinds too long": (changed(BYTES, token_type=[*KINDS, 1]), r"token_type: has \d+ entries for \d+ tokens"),
    "kinds are text": (changed(BYTES, token_type=["1"] * len(KINDS)), "token_type: is not an array of whole numbers"),
    "kinds are fractions": (changed(BYTES, token_type=[1.5] * len(KINDS)), "token_type: is not an array of whole"),
    "a kind unknown": (changed(BYTES, token_type=[99, *KINDS[1:]]), "token_type: has a kind that is none of 0 to 6"),
    "no merges": (changed(BYTES, merges=None), "merges: is missing"),
    "merges are numbers": (changed(BYTES, merges=[1]), "merges: is not an array of strings"),
    "a merge of one": (changed(BYTES, merges=[*MERGES, "ab"]), r"merges: entry \d+, 'ab', is not two tokens"),
    "a merge of strangers": (changed(BYTES, merges=["qqq zzz"]), "merges: entry 0, 'qqq zzz', is not two tokens"),
    "bos out of range": (changed(BYTES, bos_token_id=10**6), "bos_token_id: is 1000000; the vocabulary has"),
    "eos negative": (changed(BYTES, eos_token_id=-1), "eos_token_id: is -1"),
    "eot is text": (changed(BYTES, eot_token_id="</s>"), "eot_token_id: is '</s>'"),
    "bos is a truth": (changed(BYTES, bos_token_id=True), "bos_token_id: is True"),
    "add_bos is a number": (changed(BYTES, add_bos_token=1), "add_bos_token: is neither true nor false"),
    "model is a number": (changed(BYTES, model=7), "model: is not a string"),
    "model unknown": (changed(BYTES, model="plamo2"), "model: 'plamo2' is not a tokenizer that unillm reads"),
    "rule unknown": (changed(BYTES, pre="my-own"), "pre: 'my-own' is a rule for words that unillm does not know"),
    "rule is a number": (changed(BYTES, pre=3), "pre: is not a string"),
    "no scores": (changed(PIECES, scores=None), "scores: is missing"),
    "scores too short": (changed(PIECES, scores=SCORES[:-1]), r"scores: has \d+ entries for \d+ tokens"),
    "a score is no number": (changed(PIECES, scores=[float("nan"), *SCORES[1:]]), "scores: has an entry that is not"),
    "scores are text": (changed(PIECES, scores=["0"] * len(SCORES)), "scores: is not an array of numbers"),
    "unknown out of range": (changed(PIECES, unknown_token_id=2**31), "unknown_token_id: is 2147483648"),
}


@pytest.mark.parametrize(("keys", "reason"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_names_the_file_and_the_key(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenizerFault, match=rf"^tiny\.gguf: tokenizer\.ggml\.{reason}"):
        from_keys(keys)


@pytest.mark.parametrize("model", [None, "none", "no_vocab"])
def test_a_file_without_a_vocabulary_has_none(model: str | None) -> None:
    assert read_vocabulary({} if model is None else {"tokenizer.ggml.model": model}, "tiny.gguf") is None


@pytest.mark.parametrize("pre", SPLITS)
def test_every_rule_cuts_and_loses_nothing(pre: str) -> None:
    tokenizer = from_keys(byte_level_keys(byte_level_json(), pre if pre != "gemma4" else "gpt-2"))
    text = "It's 12345 o'clock,  isn't it?\r\n\r\n\tДа! 你好１２３ ...\u3000x  "
    assert tokenizer.decode(tokenizer.encode(text)) == text


WORDS = {
    "gpt-2": ["it", "'s", " 1234", " aB", "!"],
    "smollm": ["it", "'s", " ", "1", "2", "3", "4", " aB", "!"],
    "llama-bpe": ["it", "'s", " ", "123", "4", " aB", "!"],
    "qwen2": ["it", "'s", " ", "1", "2", "3", "4", " aB", "!"],
    "tekken": ["it", "'s", " ", "1", "2", "3", "4", " a", "B", "!"],
    "gpt-4o": ["it's", " ", "123", "4", " a", "B", "!"],
}


@pytest.mark.parametrize("pre", WORDS)
def test_words_end_where_their_rule_says(pre: str) -> None:
    vocabulary = read_vocabulary(byte_level_keys(byte_level_json(), pre), "tiny.gguf")
    assert vocabulary is not None
    cuts = vocabulary.pipeline.pre_tokenizer.pre_tokenize_str("it's 1234 aB!")
    assert [word.replace("Ġ", " ") for word, _ in cuts] == WORDS[pre]


def test_a_file_that_names_no_rule_is_read_as_all_were_then_and_says_so() -> None:
    tokenizer = from_keys(byte_level_keys(byte_level_json(), None))
    assert tokenizer.note is not None
    assert tokenizer.encode("It's 1234") == from_keys(byte_level_keys(byte_level_json(), "default")).encode("It's 1234")


def test_bos_comes_first_where_the_file_or_its_rule_says_so() -> None:
    says_nothing = byte_level_keys(byte_level_json(), "llama-bpe")
    assert from_keys(says_nothing).encode("x")[0] == 0
    assert from_keys(changed(says_nothing, add_bos_token=False)).encode("x")[0] != 0
    assert from_keys(byte_level_keys(byte_level_json())).encode("x")[0] != 0
    both = changed(says_nothing, add_eos_token=True)
    assert (from_keys(both).encode("x")[0], from_keys(both).encode("x")[-1]) == (0, 1)


def test_every_end_token_counts() -> None:
    tokenizer = from_keys(changed(BYTES, eot_token_id=3, eom_token_id=2))
    assert tokenizer.eos_ids == {1, 2, 3}


def test_an_end_token_that_was_marked_as_text_is_special_all_the_same() -> None:
    kinds = [4 if token == "<|im_end|>" else kind for token, kind in zip(TOKENS, KINDS, strict=True)]
    tokenizer = from_keys(changed(BYTES, token_type=kinds, eot_token_id=TOKENS.index("<|im_end|>")))
    assert tokenizer.is_special(TOKENS.index("<|im_end|>"))
    assert tokenizer.decode(tokenizer.encode("a<|im_end|>", special=True)) == "a"


def test_tokens_without_a_name_are_never_met() -> None:
    tokens = ["" if number in (50, 60) else token for number, token in enumerate(TOKENS)]
    merges = [merge for merge in MERGES if all(part in tokens for part in (*merge.split(), merge.replace(" ", "")))]
    assert from_keys(changed(BYTES, tokens=tokens, merges=merges)).token(50) == ""


def test_phi_3_drops_the_spaces_behind_its_markers() -> None:
    phi = from_keys(changed(BYTES) | {"general.name": "Phi-3-mini"})
    ids = phi.encode("<|im_end|>\n x", special=True)
    assert phi.decode(ids, skip_special=False) == "<|im_end|>x"


def test_runs_of_one_letter_grow_from_the_left_where_scores_are_equal() -> None:
    runs = ["▁" * length for length in range(2, 17)]
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    keys: dict[str, Any] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", *names, "▁", "x", *runs],
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, 1, 1, *[1] * len(runs)],
        "tokenizer.ggml.scores": [0.0] * 259 + [-1.0, -2.0] + [-1e9] * len(runs),
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.bos_token_id": 1,
    }
    tokenizer = from_keys(keys)
    for length in (2, 5, 16, 19, 21, 35):
        ids = tokenizer.encode(" " * length + "x", bos=False)
        rest = [length % 16] if length % 16 else []
        assert [len(tokenizer.token(id_)) for id_ in ids] == [*[16] * (length // 16), *rest, 1]
