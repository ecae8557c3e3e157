"""Models written as GGUF: read again here, and by llama.cpp."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from unillm.models.contract import Model
from unillm.registry.errors import FileTaken
from unillm.registry.files import ModelFiles
from unillm.registry.formats.gguf import read_gguf
from unillm.runtime.errors import InvalidParameter, NotWritable
from unillm.runtime.quantizing.convert import quantize_model
from unillm.runtime.quantizing.mixtures import MIXTURES
from unillm.runtime.text.splits import QWEN2
from unillm.runtime.text.tokenizer import load_tokenizer
from unillm.runtime.weights.load import load_model
from unillm.tests.models import zoo
from unillm.tests.models.paged import Pages
from unillm.tests.models.zoo import PLACE
from unillm.tests.support.talking import talking_model

TEXTS = ["the quick brown fox jumps over the lazy dog " * 3, "pack my box with five dozen liquor jugs", "12 345 !?"]


def byte_pairs(folder: Path, size: int, pattern: str = QWEN2, *, complete: bool = True) -> None:
    """A tokenizer.json of so many tokens, with an end of its own."""
    pipeline = Tokenizer(models.BPE())
    pipeline.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pipeline.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if complete else [],
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    pipeline.train_from_iterator(TEXTS, trainer)
    # Every id is text, as a server that sends it wants it to be.
    pipeline.add_tokens([f"<t{number}>" for number in range(size - pipeline.get_vocab_size())])
    pipeline.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))


def saved(name: str, folder: Path, *, complete: bool = True) -> tuple[zoo.Row, ModelFiles]:
    row = zoo.BY_NAME[name].wide()
    row = zoo.Row(row.name, row.family, {**row.settings, "vocab_size": 300})
    byte_pairs(folder, 290 if complete else 300, complete=complete)
    zoo.save(zoo.reference.__wrapped__(row), folder)
    return row, zoo.files_in(folder, "model.safetensors")


def written(files: ModelFiles, kind: str, folder: Path) -> ModelFiles:
    target = folder / f"{kind}.gguf"
    quantize_model(files, kind, target)
    return ModelFiles(target.stem, "gguf", (target,), {target.name: target})


def scores(model: Model, ids: Sequence[int]) -> torch.Tensor:
    return Pages(model).whole(list(ids))[-1]


@pytest.mark.parametrize("name", ["llama2", "llama3.1", "qwen2", "qwen3", "llama-yarn", "llama-linear", "smollm2"])
def test_a_file_of_half_precision_gives_the_same_scores(name: str, tmp_path: Path) -> None:
    row, files = saved(name, tmp_path)
    ids = zoo.prompt(row)
    found = scores(load_model(written(files, "f16", tmp_path), PLACE), ids)
    assert zoo.distance(found, scores(load_model(files, PLACE), ids)) < 5e-3


@pytest.mark.parametrize("kind", ["q8_0", "q6_k", "q4_k_m", "q4_0"])
@pytest.mark.parametrize("name", ["llama2", "qwen2", "qwen3"])
def test_llama_cpp_agrees_with_every_file(name: str, kind: str, tmp_path: Path) -> None:
    from unillm.tests.support.llama_cpp import LlamaCpp  # skips without the wheel

    row, files = saved(name, tmp_path, complete=False)
    gguf, ids = written(files, kind, tmp_path), zoo.prompt(row, 40)
    model, peer = load_model(gguf, PLACE), LlamaCpp(tmp_path / f"{kind}.gguf")
    found = scores(model, ids).log_softmax(-1)
    assert float((found - peer.log_probabilities(ids, len(found))).abs().max()) <= 0.2
    answer = peer.greedy(ids, 8)
    for count, token in enumerate(answer):
        ahead = scores(model, [*ids, *answer[:count]])
        assert float(ahead.max() - ahead[token]) <= 0.1  # the same, or a near tie


def test_the_tokenizer_comes_along(tmp_path: Path) -> None:
    _, files = saved("qwen2", tmp_path)
    before, after = load_tokenizer(files), load_tokenizer(written(files, "q8_0", tmp_path))
    assert before is not None
    assert after is not None
    for text in (*TEXTS, "Grüße, 12345 don't\n\n x", "<|end|>"):
        assert after.encode(text) == before.encode(text)
    assert after.eos_ids == before.eos_ids


def test_a_rule_for_words_that_has_no_name_is_refused(tmp_path: Path) -> None:
    _, files = saved("qwen2", tmp_path)
    byte_pairs(tmp_path, 290, "[a-m]+|[^a-m]+")
    with pytest.raises(NotWritable, match="cut text into words"):
        written(files, "q8_0", tmp_path)
    assert not list(tmp_path.glob("*.gguf"))


def test_a_tokenizer_that_merges_nothing_is_refused(tmp_path: Path) -> None:
    talking_model(tmp_path)
    with pytest.raises(NotWritable, match="merges nothing"):
        written(zoo.files_in(tmp_path, "model.safetensors"), "q8_0", tmp_path)


def test_windows_that_the_format_cannot_say_are_refused(tmp_path: Path) -> None:
    _, files = saved("qwen2-window", tmp_path)
    with pytest.raises(NotWritable, match="windows"):
        written(files, "q8_0", tmp_path)


def test_a_gguf_keeps_its_keys_and_a_quantised_one_is_not_quantised_again(tmp_path: Path) -> None:
    _, files = saved("qwen3", tmp_path)
    whole = written(files, "bf16", tmp_path)
    packed = written(whole, "q4_k_m", tmp_path)
    before, after = (read_gguf(one.weights).metadata for one in (whole, packed))
    changing = {"general.file_type"}
    assert {key: after[key] for key in after if key not in changing} == {
        key: before[key] for key in before if key not in changing
    }
    with pytest.raises(NotWritable, match="quantised already"):
        written(packed, "q4_0", tmp_path)


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    _, files = saved("qwen3", tmp_path)
    (tmp_path / "q8_0.gguf").write_text("mine")
    with pytest.raises(FileTaken):
        written(files, "q8_0", tmp_path)
    assert (tmp_path / "q8_0.gguf").read_text() == "mine"


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    _, files = saved("qwen3", tmp_path)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_model(files, "q8_0", tmp_path / "new.gguf", stop)
    assert not [path for path in tmp_path.iterdir() if "new.gguf" in path.name]


def test_a_mixture_that_is_not_there_is_named(tmp_path: Path) -> None:
    _, files = saved("qwen3", tmp_path)
    with pytest.raises(InvalidParameter, match="q4_k_m"):
        quantize_model(files, "q9", tmp_path / "new.gguf")


def test_mixtures_are_those_of_llama_cpp() -> None:
    """As its llama-quantize (of llama-cpp-python 0.3.36) chose them for ten layers with one table for both ends."""
    names = ["token_embd.weight", *(f"blk.{i}.{part}.weight" for i in range(9) for part in ("attn_v", "ffn_down"))]
    chosen = {name: MIXTURES["q4_k_m"].kind_of(name, (1024, 1024), names, 9) for name in names}
    assert chosen["token_embd.weight"] == "Q6_K"
    assert [str(chosen[f"blk.{i}.ffn_down.weight"])[:2] for i in range(9)] == [
        "Q6", "Q4", "Q4", "Q6", "Q4", "Q4", "Q6", "Q6", "Q6",
    ]  # fmt: skip
    assert MIXTURES["q4_k_m"].kind_of("blk.0.attn_q.weight", (576, 576), names, 9) == "Q5_0"
    assert MIXTURES["q4_k_m"].kind_of("blk.0.attn_norm.weight", (576,), names, 9) is None
