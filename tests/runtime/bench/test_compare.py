"""The comparison with other programs: turns, ratios, what counts, and what is said of who is missing or fails."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unillm.models.quantized import QuantizedTensor
from unillm.registry.files import ModelFiles
from unillm.registry.formats.gguf import read_gguf
from unillm.registry.names import ModelRef
from unillm.registry.sources.local import files_in_place
from unillm.runtime.bench.compare.compare import Compared, Pairs, Work, compare
from unillm.runtime.bench.compare.llama_cpp import LlamaCpp
from unillm.runtime.bench.compare.llama_server import LlamaServer
from unillm.runtime.bench.compare.ours import ENGINE_ALONE, OURS
from unillm.runtime.bench.compare.peer import WorkerPeer
from unillm.runtime.bench.compare.report import Weighed, as_data, remarks, rows
from unillm.runtime.bench.compare.served import served
from unillm.runtime.bench.compare.trials import TRIALS, Trial
from unillm.runtime.bench.compare.unpacked import unpacked, unpacked_int8
from unillm.runtime.bench.limits import Limits, measure_limits
from unillm.runtime.bench.synthetic import SHAPES, synthetic_model
from unillm.runtime.bench.weighing import weigh
from unillm.runtime.bench.words import vocabulary
from unillm.runtime.errors import PeerFailed
from unillm.runtime.quantizing.gguf_file import Planned, write_gguf
from unillm.runtime.text.tokenizer import load_tokenizer
from unillm.runtime.weights.load import open_weights


@dataclass
class Fake:
    """A peer that notes its turns; `figures` are given out one after another."""

    name: str
    figures: list[float]
    turns: list[str]
    reason: str | None = None
    broken: bool = False
    left: list[float] = field(default_factory=list)

    def absent(self, file: Path) -> str | None:
        return self.reason

    def runs(self, trial: Trial) -> bool:
        return trial.counts != "served"

    @contextmanager
    def running(self, file: Path, threads: int) -> Iterator["Fake"]:
        self.left = list(self.figures)
        yield self

    def figure(self, trial: Trial) -> float | None:
        self.turns.append(self.name)
        if self.broken:
            raise PeerFailed(self.name, trial.name, "it broke")
        return self.left.pop(0)


def run(peer: Fake, ours: Fake, trial: str, anchor: float | None = None) -> Compared:
    anchors = {} if anchor is None else {(peer.name, trial): anchor}
    work = Work(Path("x.gguf"), 2, 2, [TRIALS[trial]], anchors)
    return compare(ours, [peer], work, Limits(2, 10e9, 100e9), lambda _: None)


def test_sides_take_turns_and_the_ratio_is_that_of_the_rounds() -> None:
    turns: list[str] = []
    found = run(Fake("peer", [10, 20], turns), Fake("ours", [20, 20], turns), "decode").pairs[0]
    assert turns == ["ours", "peer", "peer", "ours"]
    assert found.ratios == (2.0, 1.0)
    assert found.ratio == 1.5


def test_less_memory_and_less_waiting_are_better() -> None:
    found = run(Fake("peer", [10, 10], []), Fake("ours", [5, 5], []), "memory").pairs[0]
    assert found.ratio == 2.0


@pytest.mark.parametrize(("anchor", "counts"), [(None, None), (10.0, True), (11.4, True), (12.0, False), (8.0, True)])
def test_a_peer_counts_unless_it_stays_fifteen_percent_below_its_anchor(
    anchor: float | None, counts: bool | None
) -> None:
    found = run(Fake("peer", [10, 10], []), Fake("ours", [10, 10], []), "decode", anchor)
    assert found.pairs[0].counts is counts
    assert ("not counted" in rows(found)[0][-1]) == (counts is False)


def test_who_is_missing_and_who_fails_is_said() -> None:
    missing = run(Fake("peer", [], [], reason="it is not installed"), Fake("ours", [1, 1], []), "decode")
    failing = run(Fake("peer", [], [], broken=True), Fake("ours", [1, 1], []), "decode")
    assert not missing.pairs
    assert not failing.pairs
    assert "peer is not compared: it is not installed" in list(remarks(missing, Weighed(1, 1)))
    assert "peer: decode: it broke" in list(remarks(failing, Weighed(1, 1)))


def test_shares_of_the_machines_limits_are_told() -> None:
    found = run(Fake("peer", [1, 1], []), Fake("ours", [5, 5], []), "decode")
    assert as_data(found, Weighed(10**9, 1))["shares"] == [
        {"test": "decode", "share": 0.5, "of": "the memory's bandwidth"}
    ]


def test_a_synthetic_model_is_made_once_and_weighed(tmp_path: Path) -> None:
    file = synthetic_model("qwen3-tiny", "q4_k_m", tmp_path, lambda *_: None)
    stamp = file.stat().st_mtime_ns
    assert synthetic_model("qwen3-tiny", "q4_k_m", tmp_path, lambda *_: None).stat().st_mtime_ns == stamp
    tensors = read_gguf([file]).tensors
    assert tensors["blk.0.attn_q.weight"].dtype == "Q4_K"
    assert tensors["token_embd.weight"].dtype == "Q6_K"
    read, multiplied = weigh([file])
    assert read == sum(one.nbytes for one in tensors.values())
    assert multiplied == 2 * (256 * 256 * 2 + 2 * 128 * 256 + 3 * 512 * 256)


def test_unillm_itself_answers_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = synthetic_model("qwen3-tiny", "q8_0", tmp_path, lambda *_: None)
    assert OURS.absent(file) is None
    with OURS.running(file, 1) as running:
        assert (running.figure(TRIALS["prompt-512"]) or 0) > 0


def test_programs_that_are_not_there_are_named(tmp_path: Path) -> None:
    reason = LlamaCpp(tmp_path).absent(tmp_path / "x.gguf")
    assert reason is not None
    assert "llama-bench" in reason
    assert "--build-peers" in reason


def test_only_servers_run_the_trials_of_servers() -> None:
    turns: list[str] = []
    assert not run(Fake("peer", [10, 10], turns), Fake("ours", [10, 10], turns), "served-32").pairs
    assert not turns
    servers = {
        peer.name: [name for name, trial in TRIALS.items() if peer.runs(trial)]
        for peer in (LlamaServer(), ENGINE_ALONE)
    }
    assert servers == {"llama-server": ["served-1", "served-32"], "unillm's engine": ["served-1"]}
    assert all(OURS.runs(trial) for trial in TRIALS.values())


@pytest.mark.slow
def test_our_server_is_held_against_another_and_against_its_own_engine(tmp_path: Path) -> None:
    """The other one is a program that stands in for it."""
    file = synthetic_model("qwen3-tiny", "q8_0", tmp_path, lambda *_: None, words=True)
    program = tmp_path / "llama-server"
    program.write_text(
        f"#!{sys.executable}\nimport sys, time\n"
        "from unillm.tests.support.endpoint import Habits, endpoint\n"
        "with endpoint(Habits(), port=int(sys.argv[-1])):\n    time.sleep(600)\n"
    )
    program.chmod(0o700)
    small = replace(TRIALS["served-32"], prompt=8, answer=8, requests=4)
    with LlamaServer(tmp_path).running(file, 1) as theirs, OURS.running(file, 1) as ours:
        assert theirs.figure(small) > 0
        assert (ours.figure(small) or 0) > 0
        assert (ours.figure(replace(small, requests=1)) or 0) > 0
    with ENGINE_ALONE.running(file, 1) as alone:
        assert (alone.figure(TRIALS["served-1"]) or 0) > 0


def test_a_server_that_does_not_start_is_named(tmp_path: Path) -> None:
    assert "llama-server not found" in (LlamaServer(tmp_path).absent(tmp_path / "x.gguf") or "")
    with pytest.raises(PeerFailed, match="did not become ready"), served("it", tmp_path, 1, lambda _: ["false"]):
        pass


def test_words_of_three_letters_are_a_token_each_to_everybody(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(files_in_place(ModelRef.parse(str(_worded(tmp_path)))))
    assert tokenizer is not None
    ids = tokenizer.encode(" cat dog")
    assert (len(ids), tokenizer.decode(ids)) == (2, " cat dog")


def _worded(folder: Path) -> Path:
    """A vocabulary large enough for all of them."""
    keys = replace(SHAPES["qwen3-tiny"], vocabulary=20_000).keys(7) | vocabulary(20_000)
    file = folder / "worded.gguf"
    write_gguf(file, keys, [Planned("output_norm.weight", "F32", (256,), lambda: torch.ones(256))], lambda *_: None)
    return file


def test_limits_are_measured_where_there_are_kernels() -> None:
    limits = measure_limits(1)
    assert limits.bandwidth is None or limits.bandwidth > 1e6
    assert limits.int8 is None or limits.int8 > 1e6


def test_who_breaks_off_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    peer, heard = Fake("peer", [10, 10], []), list[str]()
    work = Work(Path("x.gguf"), 2, 2, [TRIALS["decode"], TRIALS["memory"]], {})

    def ended(pairs: Pairs) -> None:
        heard.append(pairs.trial.name)
        monkeypatch.setattr(peer, "figure", interrupted)

    def interrupted(_: Trial) -> float:
        raise KeyboardInterrupt

    found = compare(Fake("ours", [1, 1], []), [peer], work, Limits(2, None, None), lambda _: None, ended)
    assert found.cut
    assert heard == [pairs.trial.name for pairs in found.pairs] == ["decode"]


def test_peers_in_python_say_why_they_fail(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"no model")
    with OURS.running(tmp_path / "x.gguf", 1) as running, pytest.raises(PeerFailed, match=r"Error: .*x\.gguf"):
        running.figure(TRIALS["decode"])
    assert WorkerPeer("nobody", "nobody", "no_such_package").absent(tmp_path / "x.gguf") == "not installed"


def test_the_unpacked_folder_has_the_numbers_of_the_file(tmp_path: Path) -> None:
    file = synthetic_model("qwen3-tiny", "q8_0", tmp_path, lambda *_: None)
    weights = open_weights(ModelFiles("tiny", "gguf", (file,)))
    packed = weights.load_tensor("blk.1.ffn_down.weight")
    assert isinstance(packed, QuantizedTensor)
    name = "model.layers.1.mlp.down_proj.weight"
    rounded, rows = (load_file(make(file) / "model.safetensors") for make in (unpacked, unpacked_int8))
    assert torch.equal(rounded[name], packed.dequantize().to(torch.bfloat16))
    numbers = rows[name] * rows[f"{name}_scale"].float()
    torch.testing.assert_close(numbers, packed.dequantize(), rtol=0, atol=float(packed.dequantize().abs().max()) / 100)
    assert unpacked(tmp_path / "x.safetensors") == tmp_path / "x.safetensors"
