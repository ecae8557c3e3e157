"""Decoders that transformers computes and we run: its own logits and answers, however texts are cut and batched."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any, Final

import pytest
import torch

from unillm.models import table
from unillm.models.borrowed import names
from unillm.models.borrowed.decoder import Borrowed
from unillm.models.borrowed.names import NAMES, _theirs
from unillm.models.contract import WeightLoader
from unillm.models.encoding import packed
from unillm.models.errors import BorrowingError, ConfigError, UnknownArchitecture, WeightsError
from unillm.models.quantized import QuantizedTensor
from unillm.registry.events import Event, Notice
from unillm.registry.files import ModelFiles
from unillm.runtime.engine import Engine
from unillm.runtime.options import EngineOptions
from unillm.runtime.weights.load import load_model, open_weights
from unillm.tests.models import zoo
from unillm.tests.models.zoo import PLACE, Row, distance
from unillm.tests.runtime.engines import greedy

_COMMON: Final = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_LATENT: Final = {
    "num_key_value_heads": 4,
    "q_lora_rank": 40,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
_BAMBA: Final = {
    "num_hidden_layers": 4,
    "attn_layer_indices": [2],
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_n_groups": 2,
    "mamba_d_conv": 4,
}
OURS: Final = "with our attention and cache"
ALONE: Final = "one sequence at a time"
ANEW: Final = f"{ALONE}, each token from the beginning of its text"

HELIUM: Final = Row("helium", "Helium", {**_COMMON, "head_dim": 16})
JAPANESE: Final = Row("gpt-neox-japanese", "GPTNeoXJapanese", _COMMON)
ROWS: Final = {
    HELIUM: OURS,
    Row("exaone4", "Exaone4", {**_COMMON, "num_hidden_layers": 4, "sliding_window": 24}): OURS,
    Row("minicpm3", "MiniCPM3", {**_COMMON, **_LATENT}): OURS,
    JAPANESE: ALONE,
    Row("bamba", "Bamba", {**_COMMON, **_BAMBA}): ANEW,  # its steps are not what it computes of the whole
}


def each_row() -> list[Any]:
    """One of each way always, the others in the full matrix."""
    slow = [() if row in (HELIUM, JAPANESE) else (pytest.mark.slow,) for row in ROWS]
    return [pytest.param(row, id=row.name, marks=marks) for row, marks in zip(ROWS, slow, strict=True)]


@pytest.fixture(scope="module", params=each_row())
def row(request: pytest.FixtureRequest) -> Row:
    found: Row = request.param
    return found


@pytest.fixture(scope="module")
def files(row: Row, tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return zoo.save(zoo.reference(row), tmp_path_factory.mktemp(row.name))


@pytest.fixture
def open_engine(files: ModelFiles) -> Iterator[Callable[[], Engine]]:
    """In steps of 24 tokens, so that prompts are cut."""
    engines: list[Engine] = []

    def opened() -> Engine:
        options = EngineOptions(device="cpu", dtype="fp32", threads=1, kv_memory=1 << 22, batch_tokens=24, sequences=4)
        engines.append(Engine.load(files, options=options))
        return engines[-1]

    yield opened
    for engine in engines:
        engine.check()
        engine.close()


def test_whole_in_chunks_and_found_again_the_logits_are_those_of_transformers_alone(
    row: Row, open_engine: Callable[[], Engine]
) -> None:
    ids = zoo.prompt(row)
    wanted = zoo.expected(zoo.reference(row), ids)
    engine = open_engine()
    assert distance(engine.logits(ids), wanted) <= zoo.TOLERANCE
    assert distance(engine.logits(ids, start=60), wanted[60:]) <= zoo.TOLERANCE
    assert engine.stats().cached_tokens >= 32


def test_answers_in_company_are_those_of_transformers_alone(row: Row, open_engine: Callable[[], Engine]) -> None:
    """What runs together changes all the time."""
    asked = [zoo.prompt(row, length, seed=length) for length in (40, 5, 61)]
    asked.append([*asked[0], 7, 8])
    engine = open_engine()
    answers = [list(one.token_ids) for one in engine.generate(asked, greedy(12, ignore_eos=True))]
    for ids, answer in zip(asked, answers, strict=True):
        scores = zoo.expected(zoo.reference(row), ids + answer)[len(ids) - 1 : -1]
        best = scores.topk(2)
        close = best.values[:, 0] - best.values[:, 1] <= zoo.TOLERANCE * scores.abs().max()
        assert len(answer) == 12
        assert (close | (best.indices[:, 0] == torch.tensor(answer))).all()


def test_whoever_loads_it_is_told_who_computes_and_how(row: Row, files: ModelFiles) -> None:
    told: list[Event] = []
    Engine.load(files, kv_memory=1 << 22, listener=told.append).close()
    assert Notice(f"{files.name}: transformers computes it, {ROWS[row]}") in told


def test_every_name_of_the_list_is_one_of_transformers_and_none_of_ours() -> None:
    assert _theirs() >= NAMES
    assert not NAMES & table.HF.keys()


def test_without_transformers_the_error_says_that_it_would_compute_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "find_spec", lambda _: None)
    with pytest.raises(UnknownArchitecture) as caught:
        table.find("HeliumForCausalLM", "safetensors")
    assert "unillm-cli[transformers]" in (caught.value.hint or "")
    assert not table.is_known("HeliumForCausalLM", "safetensors")
    with pytest.raises(UnknownArchitecture) as caught:
        table.find("HeliumForCausalLN", "safetensors")
    assert "unillm-cli[transformers]" not in (caught.value.hint or "")


def test_with_transformers_it_is_known_but_not_in_gguf() -> None:
    assert table.is_known("HeliumForCausalLM", "safetensors")
    assert table.is_known("HeliumForCausalLM", "pytorch")
    assert not table.is_known("HeliumForCausalLM", "gguf")


def changed(folder: Path, **keys: Any) -> ModelFiles:
    """A tiny Helium whose config.json has these keys; those that are None are gone."""
    files = zoo.save(zoo.reference(HELIUM), folder)
    config = folder / "config.json"
    told = {**json.loads(config.read_text()), **keys}
    config.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))
    return files


def test_what_transformers_thinks_of_a_config_is_not_shown(tmp_path: Path) -> None:
    listening = BufferingHandler(100)
    logger = logging.getLogger("transformers")
    logger.addHandler(listening)
    try:
        load_model(changed(tmp_path, bos_token_id=1 << 20), PLACE)
    finally:
        logger.removeHandler(listening)
    assert listening.buffer == []


def test_code_beside_the_weights_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "modeling_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Own: pass\n")
    own = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM"), "modeling_own.Own")
    load_model(changed(tmp_path, auto_map=own), PLACE)
    with pytest.raises(ConfigError, match="model_type: 'own' is not one that transformers knows"):
        load_model(changed(tmp_path, auto_map=own, model_type="own"), PLACE)
    with pytest.raises(UnknownArchitecture):
        load_model(changed(tmp_path, auto_map=own, architectures=["OwnForCausalLM"], model_type="own"), PLACE)
    assert not (tmp_path / "ran").exists()


def test_tensors_of_another_model_are_listed(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"9 missing: model\.layers\.3") as caught:
        load_model(changed(tmp_path, num_hidden_layers=4), PLACE)
    assert "model.layers.3.mlp.up_proj.weight" in caught.value.missing


class Packed:
    """The same weights, each of a kind that transformers does not know."""

    def __init__(self, plain: WeightLoader) -> None:
        self.metadata, self.tensor_names = plain.metadata, plain.tensor_names

    def load_tensor(self, name: str) -> QuantizedTensor:
        return packed("Q8_0", torch.zeros(2, 32))


def test_what_it_cannot_do_is_refused(tmp_path: Path) -> None:
    files = changed(tmp_path)
    with pytest.raises(BorrowingError, match="over ranks"):
        load_model(files, replace(PLACE, world=2))
    with pytest.raises(BorrowingError, match="packed"):
        load_model(files, replace(PLACE, quantize=lambda _name, _shape: "Q8_0"))
    weights = open_weights(files)
    with pytest.raises(BorrowingError, match="are packed"):
        Borrowed.load(Packed(weights), Borrowed.Config.from_hf(weights.metadata.config), PLACE)  # type: ignore[arg-type]


def test_a_class_that_is_no_decoder_of_text_is_refused(tmp_path: Path) -> None:
    """Here one that reads what comes after a token."""
    row = Row("bert", "Bert", {"is_decoder": False}, model="BertLMHeadModel")
    with pytest.raises(BorrowingError, match="other scores than as a whole"):
        load_model(zoo.save(zoo.reference(row), tmp_path), PLACE)


def test_a_family_is_known_by_its_type_where_its_class_has_another_name() -> None:
    named = table.architecture_of
    assert named({"architectures": ["ZephyrForCausalLM"], "model_type": "mistral"}) == "MistralForCausalLM"
    assert named({"model_type": "qwen2_moe"}) == "Qwen2MoeForCausalLM"
    assert named({"architectures": None, "model_type": "gpt_bigcode"}) == "GPTBigCodeForCausalLM"
    assert named({"architectures": ["OwnForCausalLM"], "model_type": "gemma3_text"}) == "Gemma3ForCausalLM"
    assert named({"architectures": ["LlamaForSequenceClassification"], "model_type": "llama"}) == (
        "LlamaForSequenceClassification"
    )
    assert named({"architectures": ["OwnForCausalLM"], "model_type": "own"}) == "OwnForCausalLM"
    assert named({}) is None


def test_whoever_loads_a_family_known_by_its_type_is_told(tmp_path: Path) -> None:
    row = zoo.BY_NAME["llama2"]
    files = zoo.save(zoo.reference(row), tmp_path)
    assert load_model(files, PLACE).note is None
    config = tmp_path / "config.json"
    told = json.loads(config.read_text())
    for named, said in (["ZephyrForCausalLM"], "names 'ZephyrForCausalLM', which"), (None, "names no class"):
        config.write_text(json.dumps({**told, "architectures": named}))
        note = load_model(files, PLACE).note or ""
        assert said in note
        assert "model_type, 'llama', it is computed as LlamaForCausalLM" in note


def test_what_is_known_is_found_and_nothing_else() -> None:
    for name in ("AriaTextForCausalLM", "BertForMaskedLM", "HeliumForCausalLM", "LlamaForCausalLM", "NoneForCausalLM"):
        try:
            table.find(name, "safetensors")
        except UnknownArchitecture:
            assert not table.is_known(name, "safetensors")
        else:
            assert table.is_known(name, "safetensors")
