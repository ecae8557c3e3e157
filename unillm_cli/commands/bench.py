"""`unillm bench`: how fast a model runs here."""

from dataclasses import asdict
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from ...registry.amounts import bytes_text
from ...runtime.bench.measure import Figure, Workload, measure, measure_form
from ...runtime.bench.memory import peak_device_memory, peak_memory
from .. import options as of
from ..client import Opened, open_engine
from ..errors import UsageError
from ..groups import LoadingHere
from ..session import Session
from ..settings import Settings

if TYPE_CHECKING:
    from ...runtime.bench.throughput import Crowd
    from ...runtime.options import EngineOptions


def bench(
    session: Session,
    model: of.OptionalModelArgument = None,
    prompt_tokens: of.PromptTokensOption = 512,
    answer_tokens: of.AnswerTokensOption = 64,
    batch: of.BatchOption = 8,
    runs: of.RunsOption = 3,
    throughput: of.ThroughputOption = None,
    *,
    loading: LoadingHere,
) -> None:
    """Measure how fast a model runs here.

    Speeds are the medians of several runs, after one that does not count; prompts are random tokens and every run has
    its own. Loading is measured once: the first time after a start of the machine it takes as long as the disk does.

    \b
    Examples:
      unillm bench smollm2:135m
      unillm bench llama3:8b --device cuda --batch 32 --json
      unillm bench --throughput qwen3-0.6b --device cuda --max-running 256
    """
    if throughput is not None:
        _measure_throughput(session, throughput, session.settings(**loading.flags()))
        return
    work = Workload(prompt_tokens, answer_tokens, batch, runs)
    if loading.context is not None and loading.context < work.longest:
        needed = f"the longest request takes {work.longest} tokens"
        raise UsageError(f"a context of {loading.context} is too short: {needed}")
    settings = session.settings(model=model, **loading.flags())
    with open_engine(session, settings) as opened:
        engine, tell = opened.engine, partial(_tell, session)
        figures = measure(engine, engine.vocabulary, work, tell)
        if engine.tokenizer is not None and engine.tokenizer.pieces is not None:
            figures.append(measure_form(engine, engine.vocabulary, work, tell))
        from ...runtime.bench.overhead import measure_overhead  # with torch, which is there by now
        from ...runtime.bench.steps import measure_steps

        figures += measure_steps(engine.model, runs)
        figures += measure_overhead(engine.model, runs)
        _show(session, opened, work, figures)


def _measure_throughput(session: Session, shape: str, settings: Settings) -> None:
    """What nano-vllm's offline benchmark measures, of weights that are made where they compute."""
    from ...runtime.bench.dummy import dummy_engine
    from ...runtime.bench.synthetic import SHAPES
    from ...runtime.bench.throughput import Crowd, measure_throughput

    if shape not in SHAPES:
        raise UsageError(f"--throughput is one of {', '.join(SHAPES)}")
    started = perf_counter()
    with dummy_engine(shape, _throughput_options(settings)) as engine:
        opened = Opened(engine, engine.name, perf_counter() - started)
        crowd = Crowd()
        _show(session, opened, crowd, measure_throughput(engine, crowd))


def _throughput_options(settings: Settings) -> "EngineOptions":
    """Long steps for all at once, where nothing else was said; random text repeats nothing, so nothing is guessed."""
    from ...runtime.options import EngineOptions

    options = EngineOptions(
        device=settings.device,
        dtype=settings.dtype,
        kv_dtype=settings.kv_dtype,
        attention_backend=settings.attention_backend,
        context=2048,
        draft="off",
    )
    return options.with_batch(settings.max_batch_tokens or 8192, settings.max_running or 256)


def _tell(session: Session, test: str, done: int, runs: int) -> None:
    session.output.say(f"{test}: {done} of {runs} runs" if done else f"{test}: warming up")


def _show(session: Session, opened: Opened, work: "Workload | Crowd", figures: list[Figure]) -> None:
    if session.json:
        session.output.data(_as_data(opened, work, figures))
        return
    rows = [["load", f"{opened.load_seconds:.2f} s", "", "once"], *map(_row, figures)]
    if memory := peak_memory():
        rows.append(["peak memory", bytes_text(memory), "", "this process, mapped files included"])
    if memory := peak_device_memory():
        rows.append(["device memory", bytes_text(memory), "", "tensors"])
    rows.append(["kernels", opened.engine.kernels or "none", "", "instruction set; none: plain torch"])
    session.output.table(["TEST", "MEDIAN", "RANGE", "OF"], rows)


def _row(figure: Figure) -> list[str]:
    spread = f"{_number(min(figure.values))} - {_number(max(figure.values))}"
    return [figure.name, f"{_number(figure.median)} {figure.unit}", spread, figure.about]


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _as_data(opened: Opened, work: "Workload | Crowd", figures: list[Figure]) -> dict[str, object]:
    return {
        "model": opened.name,
        "load_seconds": opened.load_seconds,
        "peak_memory": peak_memory(),
        "peak_device_memory": peak_device_memory(),
        "kernels": opened.engine.kernels,
        "workload": asdict(work),
        "figures": [
            {"name": one.name, "unit": one.unit, "of": one.about, "median": one.median, "values": one.values}
            for one in figures
        ],
    }
