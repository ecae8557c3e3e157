"""The comparison with other programs: turns, ratios, what counts, and what is said of who is missing or fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unillm.models.quantized import QuantizedTensor
from unillm.registry.files import ModelFiles
from unillm.registry.formats.gguf import read_gguf
from unillm.runtime.bench.compare.compare import Compared, Pairs, Work, compare
from unillm.runtime.bench.compare.llama_cpp import LlamaCpp
from unillm.runtime.bench.compare.ours import OURS
from unillm.runtime.bench.compare.peer import WorkerPeer
from unillm.runtime.bench.compare.report import Weighed, as_data, remarks, rows
from unillm.runtime.bench.compare.trials import TRIALS, Trial
from unillm.runtime.bench.compare.unpacked import unpacked, unpacked_int8
from unillm.runtime.bench.limits import Limits, measure_limits
from unillm.runtime.bench.synthetic import synthetic_model
from unillm.runtime.bench.weighing import weigh
from unillm.runtime.errors import PeerFailed
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
