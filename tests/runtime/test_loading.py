"""From files to an engine: what is found in a folder, and what is chosen where nobody chose."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unillm import Engine, SamplingParams
from unillm.registry.events import Event, Notice
from unillm.runtime import device
from unillm.runtime.errors import ContextTooLong, DeviceNotFound, InvalidParameter, NotEnoughMemory
from unillm.runtime.options import EngineOptions
from unillm.runtime.text.tokenizer import Tokenizer
from unillm.tests.models.gguf_files import write_gguf
from unillm.tests.models.zoo import BY_NAME, TOLERANCE, expected, files_in, prompt, reference, rounded, save

ROW = BY_NAME["llama3.2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without a tokenizer."""
    made: Path = tmp_path_factory.mktemp("checkpoint")
    save(reference(ROW), made)
    return made


def test_a_batch_of_which_one_side_is_left_open_follows_the_other() -> None:
    usual = EngineOptions()
    assert usual.with_batch(None, None) == usual
    for tokens, sequences, followed in (
        (64, None, (64, 63)),
        (None, 400, (800, 400)),
        (9, 4, (9, 4)),
        (1, None, (1, 1)),
    ):
        found = usual.with_batch(tokens, sequences)
        assert (found.batch_tokens, found.sequences) == followed


def test_a_prefix_cache_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="radix or hash or off"):
        EngineOptions(prefix_cache="tree")  # type: ignore[arg-type]


def test_a_folder_without_a_tokenizer_answers_in_token_ids(folder: Path) -> None:
    with Engine.load(folder) as engine:
        assert engine.tokenizer is None
        assert not engine.has_chat_template
        done = engine.generate(prompt(ROW), SamplingParams(temperature=0, max_tokens=4))
        assert done.token_ids[0] == int(expected(reference(ROW), prompt(ROW))[-1].argmax())
        assert done.text == ""


def test_a_path_given_as_text_or_as_files_is_the_same_model(folder: Path) -> None:
    ids = prompt(ROW)
    with (
        Engine.load(folder) as first,
        Engine.load(str(folder)) as second,
        Engine.load(files_in(folder, "model.safetensors")) as third,
    ):
        assert first.name == second.name
        assert torch.equal(first.logits(ids), second.logits(ids))
        assert third.context == 256


def test_a_builder_makes_the_same_engine(folder: Path) -> None:
    builder = Engine.builder().model(folder).device("cpu").dtype("bf16").context(100).threads(1).kv_memory(1 << 22)
    with builder.batch(tokens=64, sequences=4).prefix_cache("off").build() as engine:
        assert engine.context == 100
        scores = engine.logits(prompt(ROW))
        assert scores.dtype is torch.float32
        theirs = expected(reference(ROW), prompt(ROW))
        assert 1e-4 < (scores - theirs).abs().max() / theirs.abs().max() < 0.1
        assert engine.stats().free_pages == engine.stats().pages


@pytest.mark.parametrize(
    ("stored", "computed"),
    [(torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32), (torch.float32, torch.float32)],
)
def test_on_a_cpu_a_model_computes_in_what_is_stored_but_not_in_fp16(
    tmp_path: Path, stored: torch.dtype, computed: torch.dtype
) -> None:
    save(rounded(reference(ROW), stored), tmp_path)
    with Engine.load(tmp_path, device="cpu") as engine:
        desk = engine._open_desk
        assert desk is not None
        runner = desk._wheel.runner
        assert runner.model.place.dtype is computed
        assert runner.pool.layout.dtype is computed


def test_the_folders_own_defaults_and_end_tokens_count(folder: Path, tmp_path: Path) -> None:
    save(reference(ROW), tmp_path)
    settings = {"max_new_tokens": 7, "do_sample": False, "eos_token_id": [1, 2]}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    with Engine.load(folder) as plain, Engine.load(tmp_path) as engine:
        greedy = SamplingParams(temperature=0, max_tokens=7, ignore_eos=True)
        assert (
            engine.generate(prompt(ROW), SamplingParams(ignore_eos=True)).token_ids
            == plain.generate(prompt(ROW), greedy).token_ids
        )
        assert {1, 2} <= set(engine._intake.ends)


def test_a_device_that_is_not_here_is_refused_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "devices", lambda: ["cpu"])
    with pytest.raises(DeviceNotFound, match="no device 'cuda:7' here; there is cpu"):
        Engine.load("./no/such/folder", device="cuda:7")


def test_a_context_is_at_most_what_was_trained_and_what_memory_holds(folder: Path) -> None:
    """A48"""
    with pytest.raises(ContextTooLong, match="257 tokens was asked for; the model was trained for 256"):
        Engine.load(folder, context=257)
    with pytest.raises(NotEnoughMemory, match="a context of 200 tokens needs"):
        Engine.load(folder, context=200, kv_memory=1 << 12)
    with Engine.load(folder, kv_memory=1 << 16) as engine:
        assert engine.context < 256


@pytest.mark.parametrize("name", ["context", "threads", "kv_memory", "page_size", "batch_tokens", "sequences"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "8"])
def test_an_option_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidParameter, match=f"{name} is"):
        EngineOptions(**{name: value})  # type: ignore[arg-type]


def test_loading_sets_the_threads_that_were_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        Engine.load(folder, threads=1).close()
        assert torch.get_num_threads() == 1
        Engine.load(folder).close()
        assert torch.get_num_threads() == device.physical_cores()
    finally:
        torch.set_num_threads(before)


def test_exact_reaches_the_kernels(tmp_path: Path) -> None:
    written = write_gguf(ROW.wide(), tmp_path, "Q8_0")
    wanted = expected(written.model, prompt(ROW.wide()))
    with Engine.load(written.files, exact=True) as exact, Engine.load(written.files) as usual:
        if exact.kernels is None:
            pytest.skip("no CPU kernels here")
        scores = exact.logits(prompt(ROW.wide()))
        assert (scores - wanted).abs().max() / wanted.abs().max() <= TOLERANCE
        assert not torch.equal(usual.logits(prompt(ROW.wide())), scores)


def test_options_stand_alone(folder: Path) -> None:
    with pytest.raises(InvalidParameter, match="not in both"):
        Engine.load(folder, context=64, options=EngineOptions())


def test_weights_in_a_pickle_are_told_of(tmp_path: Path) -> None:
    save(reference(ROW), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    heard: list[Event] = []
    with Engine.load(tmp_path, listener=heard.append):
        assert ["restricted unpickler" in str(event) for event in heard] == [True]


def test_a_listener_hears_what_there_is_to_know_of_the_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_gguf(ROW.wide(), tmp_path, "Q8_0").files
    heard: list[Event] = []
    with Engine.load(files, listener=heard.append):
        assert heard == []
    monkeypatch.setattr(Tokenizer, "note", "answers may suffer")
    with Engine.load(files, listener=heard.append):
        assert heard == [Notice(f"{files.name}: answers may suffer")]
