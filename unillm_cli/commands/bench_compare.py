"""`unillm bench compare`: how fast a model runs here beside other programs."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .. import options as of
from ..client import find_model
from ..errors import UsageError
from ..session import Session

if TYPE_CHECKING:
    from ...runtime.bench.compare.compare import Compared, Pairs
    from ...runtime.bench.compare.peer import Peer
    from ...runtime.bench.compare.report import Weighed


def bench_compare(
    session: Session,
    model: of.OptionalModelArgument = None,
    synthetic: of.SyntheticOption = None,
    kind: of.KindOption = "q4_k_m",
    tests: of.TestsOption = None,
    peers: of.PeersOption = None,
    rounds: of.RoundsOption = 10,
    threads: of.ThreadsOption = None,
    build_peers: of.BuildPeersOption = False,
    programs: of.ProgramsOption = None,
    offline: of.OfflineOption = None,
) -> None:
    """Measure how fast a model runs here, beside other programs.

    Each test is run by unillm and by the other in turns, on the same file and threads; a ratio above 1 says that unillm
    is better. A peer counts where it comes near to what it is known to do on a quiet machine of that kind.

    \b
    Examples:
      unillm bench compare --synthetic qwen3-0.6b --build-peers
      unillm bench compare smollm2:135m --test decode --test first-token --rounds 3 --json
    """
    from ...runtime.bench.compare.anchors import anchors_of
    from ...runtime.bench.compare.compare import Work, compare
    from ...runtime.bench.compare.ours import OURS
    from ...runtime.bench.compare.trials import TRIALS
    from ...runtime.bench.limits import measure_limits
    from ...runtime.device import use_threads

    if (model is None) == (synthetic is None):
        raise UsageError("one of the two: a model, or --synthetic")
    usual = [name for name, trial in TRIALS.items() if trial.counts != "served"]
    wanted = _known("--test", tests, list(TRIALS)) if tests else usual
    found = _peers(session, peers, programs, build_peers)
    served = any(TRIALS[name].counts == "served" for name in wanted)
    file, weighed = _file(session, model, synthetic, kind, offline, served)
    count = use_threads(threads)
    session.output.say("measuring what the machine can do")
    work = Work(file, count, rounds, [TRIALS[name] for name in wanted], anchors_of(synthetic, kind, count))
    compared = compare(OURS, found, work, measure_limits(count), session.output.say, partial(_tell, session))
    _show(session, compared, weighed)
    if compared.cut:
        raise KeyboardInterrupt


def _tell(session: Session, pairs: "Pairs") -> None:
    """At once, for who does not wait for the end."""
    from ...runtime.bench.compare import report

    session.output.note("  ".join(report.row(pairs)))


def _show(session: Session, compared: "Compared", weighed: "Weighed") -> None:
    from ...runtime.bench.compare import report

    if session.json:
        session.output.data(report.as_data(compared, weighed))
        return
    session.output.table(list(report.HEADINGS), report.rows(compared))
    for sentence in report.remarks(compared, weighed):
        session.output.note(sentence)


def _known(flag: str, given: list[str] | None, there: list[str]) -> list[str]:
    unknown = [one for one in given or () if one not in there]
    if unknown:
        raise UsageError(f"{flag} {unknown[0]}: there are {', '.join(there)}")
    return given or there


def _peers(session: Session, wanted: list[str] | None, programs: Path | None, build: bool) -> "list[Peer]":
    from ...runtime.bench.compare.llama_cpp import LlamaCpp
    from ...runtime.bench.compare.llama_cpp import build as build_llama_cpp
    from ...runtime.bench.compare.llama_server import LlamaServer
    from ...runtime.bench.compare.openvino import OPENVINO
    from ...runtime.bench.compare.ours import ENGINE_ALONE
    from ...runtime.bench.compare.transformers import TRANSFORMERS
    from ...runtime.bench.compare.vllm import VLLM, VLLM_INT8

    made = _cache(session) / "llama.cpp"
    if build:
        programs = build_llama_cpp(made, session.output.say)
    elif programs is None and (made / "build" / "bin").is_dir():
        programs = made / "build" / "bin"
    llama_cpp = (LlamaCpp(programs), LlamaCpp(programs, repack=False))
    servers = (LlamaServer(programs), ENGINE_ALONE)
    known: tuple[Peer, ...] = (*llama_cpp, VLLM, VLLM_INT8, OPENVINO, TRANSFORMERS, *servers)
    peers = {one.name: one for one in known}
    return [peers[name] for name in _known("--peer", wanted, list(peers))]


def _file(
    session: Session, model: str | None, synthetic: str | None, kind: str, offline: bool | None, served: bool
) -> "tuple[Path, Weighed]":
    """The file that all run, and what a token costs; one that is `served` has words."""
    from ...runtime.bench.compare.report import Weighed
    from ...runtime.bench.synthetic import SHAPES, synthetic_model
    from ...runtime.bench.weighing import weigh
    from ...runtime.quantizing.mixtures import MIXTURES

    if synthetic is not None:
        _known("--synthetic", [synthetic], list(SHAPES))
        _known("--kind", [kind], list(MIXTURES))
        session.output.say(f"making {synthetic} in {kind}, once")
        file = synthetic_model(synthetic, kind, _cache(session) / "synthetic", lambda *_: None, words=served)
        return file, Weighed(*weigh([file]))
    files = find_model(session, session.settings(model=model, offline=offline))
    if len(files.weights) != 1 or files.format != "gguf":
        raise UsageError(f"{files.name} is not one GGUF file, which all programs can run")
    return files.weights[0], Weighed(*weigh(files.weights))


def _cache(session: Session) -> Path:
    import platformdirs

    home = session.environ.get("XDG_CACHE_HOME")
    return Path(home) / "unillm" if home else platformdirs.user_cache_path("unillm", appauthor=False)
