"""tokenizer.json and its neighbours: what they come to, and what of them is refused."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Reference
from transformers import PreTrainedTokenizerFast

from unillm.registry.errors import FormatError
from unillm.runtime.text.errors import SettingsFault, TokenizerFault
from unillm.runtime.text.tokenizer import Tokenizer, load_tokenizer
from unillm.tests.runtime.text.tiny import TRICKY, byte_level_json, folder
from unillm.tests.support.hangs import HANGS


def edited(**changes: Any) -> str:
    """The tiny tokenizer's file with some sections replaced."""
    return json.dumps(json.loads(byte_level_json()) | changes)


def model(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(byte_level_json())["model"]
    return found | changes


def load(path: Path, source: str, **others: Any) -> Tokenizer:
    tokenizer = load_tokenizer(folder(path, source, **others))
    assert tokenizer is not None
    return tokenizer


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def replace(content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": "a"}, "content": content}


def in_sequence(kind: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "Sequence", kind: steps}


def added(content: Any, id_: Any) -> list[dict[str, Any]]:
    token = {"content": content, "id": id_, "special": True}
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    return [*json.loads(byte_level_json())["added_tokens"], token | dict.fromkeys(flags, False)]


HOSTILE: dict[str, tuple[str, str]] = {
    "replacements that grow a hundredfold each": (
        edited(normalizer=in_sequence("normalizers", [replace("a" * 100)] * 6)),
        "normalizer: may make text 1000000000000 times as long",
    ),
    "a prefix without end": (edited(normalizer={"type": "Prepend", "prepend": "x" * 10**6}), "normalizer: may make"),
    "a decoder that grows": (edited(decoder=in_sequence("decoders", [replace("b" * 1000)] * 3)), "decoder: may make"),
    "a thousand steps": (
        edited(pre_tokenizer=in_sequence("pretokenizers", [split("a")] * 1000)),
        "pre_tokenizer: has .* steps",
    ),
    "a pattern too long": (edited(pre_tokenizer=split("(a|b)" * 10_000)), "pre_tokenizer: has a pattern of 50000"),
    "a pattern that repeats": (edited(pre_tokenizer=split("(?:a{99999}){9}")), "pre_tokenizer: .* repeats 99999 times"),
    "a pattern that is none": (edited(pre_tokenizer=split("(")), "file: the tokenizers package gives up"),
    "a character map that is none": (
        edited(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "normalizer: has a character map of 3 bytes",
    ),
    "no model": (edited(model=None), "model: is missing"),
    "no vocabulary": (edited(model=model(vocab=None)), "model.vocab: is missing"),
    "an id too large": (edited(model=model(vocab={"a": 2**32 - 1})), "model.vocab: has an entry whose id"),
    "an id that is text": (edited(model=model(vocab={"a": "0"})), "model.vocab: has an entry whose id"),
    "one id for two": (edited(model=model(vocab={"a": 0, "b": 0})), "model.vocab: gives one id to two tokens"),
    "a model unknown": (edited(model=model(type="Oracle")), "file: the tokenizers package gives up"),
    "merges of strangers": (edited(model=model(merges=[["q", "zzz"]])), "file: the tokenizers package gives up"),
    "an added token elsewhere": (edited(added_tokens=added("<new>", 9_999)), "added_tokens: '<new>' has id"),
    "an added token without a name": (edited(added_tokens=added("", 9)), "added_tokens: has an entry whose content"),
    "an added token without an id": (edited(added_tokens=added("<new>", None)), "added_tokens: '<new>' has no id"),
    "added tokens that are no list": (edited(added_tokens={}), "added_tokens: is not a list"),
    "names made to be slow to find": (
        edited(added_tokens=[token for n in range(1000) for token in added("a" * n + "b", 422 + n)[-1:]]),
        "added_tokens: ",
    ),
    "a post-processor of strangers": (
        edited(
            post_processor={
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<x>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [],
                "special_tokens": {"<x>": {"id": "<x>", "ids": [7], "tokens": ["<x>"]}},
            }
        ),
        "post_processor: adds '<x>', which is no token",
    ),
}


@pytest.mark.parametrize(("source", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_by_name_and_at_once(source: str, reason: str, tmp_path: Path) -> None:
    start = time.process_time()
    with pytest.raises(TokenizerFault, match=f"tokenizer.json: {reason}"):
        load(tmp_path, source).encode("any text")
    assert time.process_time() - start < HANGS


@pytest.mark.parametrize("source", ["", "{", "[]", '"text"', "[" * 100_000, '{"model": ' * 100_000, "\ud800"])
def test_a_file_that_is_no_json_object_is_refused(source: str, tmp_path: Path) -> None:
    files = folder(tmp_path, "{}")
    files.files["tokenizer.json"].write_bytes(source.encode("utf-8", "surrogatepass"))
    with pytest.raises((FormatError, TokenizerFault), match=r"tokenizer\.json"):
        load_tokenizer(files)


def test_a_pattern_that_would_take_for_ever_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, edited(pre_tokenizer=split("(a+)+$")))
    start = time.process_time()
    with pytest.raises(TokenizerFault, match=r"tokenizer.json: encode: .*retry-limit"):
        tokenizer.encode("a" * 40 + "b")
    assert time.process_time() - start < HANGS


def test_padding_truncation_and_dropout_are_for_training(tmp_path: Path) -> None:
    padding = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "<s>"}
    truncation = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    source = edited(padding=padding | {"pad_to_multiple_of": None}, truncation=truncation, model=model(dropout=0.9))
    text = "The quick brown fox jumps"
    assert load(tmp_path, source).encode(text) == Reference.from_str(byte_level_json()).encode(text).ids


def test_a_special_token_is_found_as_it_stands_though_its_file_would_normalise_it(tmp_path: Path) -> None:
    tokens = json.loads(byte_level_json())["added_tokens"]
    source = edited(added_tokens=[token | {"normalized": True} for token in tokens], normalizer={"type": "Lowercase"})
    tokenizer = load(tmp_path, source)
    assert tokenizer.encode("<s>", special=True) == [0]
    assert not any(map(tokenizer.is_special, tokenizer.encode("<S> <s>")))


CONFIGS: dict[str, dict[str, Any]] = {
    "names": {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "</s>"},
    "objects": {
        "bos_token": {"__type": "AddedToken", "content": "<s>"},
        "eos_token": {"__type": "AddedToken", "content": "</s>"},
    },
    "added here": {
        "eos_token": "<extra>",
        "added_tokens_decoder": {"422": {"content": "<extra>", "special": True, "normalized": False}},
    },
    "word of the vocabulary": {"eos_token": "the"},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_the_configuration_says_which_tokens_are_special(config: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = load(tmp_path, byte_level_json(), tokenizer_config=config | {"tokenizer_class": "TokenizersBackend"})
    reference = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    text = "<s>the other <tool_call><|user|><extra></s>"
    ids = reference(text).input_ids
    assert tokenizer.encode(text, special=True) == ids
    assert tokenizer.decode(ids) == reference.decode(ids, skip_special_tokens=True)
    assert tokenizer.special_tokens == reference.special_tokens_map
    assert tokenizer.eos_ids == ({reference.eos_token_id} if reference.eos_token else set())
    assert tokenizer.bos_id == reference.bos_token_id
    assert tokenizer.vocab_size == len(reference)


def test_what_the_configuration_calls_special_is_so(tmp_path: Path) -> None:
    names = ["<tool_call>", {"content": "<|user|>"}]
    tokenizer = load(tmp_path, byte_level_json(), tokenizer_config={"additional_special_tokens": names})
    ids = tokenizer.encode("<tool_call>a<|user|>", special=True)
    assert [tokenizer.is_special(id_) for id_ in ids] == [True, False, True]
    assert not any(map(tokenizer.is_special, tokenizer.encode("<tool_call>a<|user|>")))


def test_names_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, byte_level_json(), special_tokens_map={"eos_token": "</s>", "bos_token": "<s>"})
    assert tokenizer.special_tokens == {"bos_token": "<s>", "eos_token": "</s>"}


def test_a_role_that_is_no_token_is_nobodys(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, byte_level_json(), tokenizer_config={"pad_token": "[PAD]", "eos_token": "</s>"})
    assert tokenizer.special_tokens == {"eos_token": "</s>"}


def test_every_end_token_that_the_files_state_counts(tmp_path: Path) -> None:
    config, generation = {"eos_token": "</s>"}, {"eos_token_id": [2, 3]}
    both = load(tmp_path, byte_level_json(), tokenizer_config=config, generation_config=generation)
    assert both.eos_ids == {1, 2, 3}
    alone = load(tmp_path, byte_level_json(), tokenizer_config=config, config={"eos_token_id": 9}, generation_config={})
    assert alone.eos_ids == {1}


@pytest.mark.parametrize("stated", [-1, "2", [1, None], 1.5, True])
def test_an_end_token_that_is_no_id_is_a_fault(stated: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsFault, match=r"generation_config.json: eos_token_id: .* is not a token id"):
        load(tmp_path, byte_level_json(), generation_config={"eos_token_id": stated})


def sentencepiece_like(prefix: str) -> Reference:
    """Llama's kind of tokenizer.json: spaces marked, bytes to fall back on."""
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    words = ["▁", "▁the", "▁t", "th", "he", "▁th", "t", "h", "e", "x"]
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e"), ("t", "h"), ("h", "e")]
    vocabulary = {word: id_ for id_, word in enumerate(["<unk>", "<s>", *names, *words])}
    pipeline = Reference(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    pipeline.add_special_tokens([AddedToken("<unk>", normalized=False), AddedToken("<s>", normalized=False)])
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix == "each":
        pipeline.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        pipeline.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    elif prefix == "first":
        pipeline.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
        pipeline.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    else:
        pipeline.normalizer = normalizers.Replace(" ", "▁")
        pipeline.decoder = decoders.Sequence(steps)
    return pipeline


@pytest.mark.parametrize("prefix", ["each", "first", "none"])
def test_marked_spaces_come_and_go_as_the_file_says(prefix: str, tmp_path: Path) -> None:
    reference = sentencepiece_like(prefix)
    tokenizer = load(tmp_path, str(reference.to_str()))
    for text in (*TRICKY, "the<s> the<s>the", " the"):
        ids = reference.encode(text).ids
        assert tokenizer.encode(text, special=True) == ids
        if "\ufffd" not in reference.decode(ids):
            assert tokenizer.decode(ids) == reference.decode(ids)
    quoted = tokenizer.encode("the<s> the<s>the")
    assert not any(map(tokenizer.is_special, quoted))
    assert tokenizer.decode(quoted) == "the<s> the<s>the"
