"""`unillm bench serve`: how fast a running server answers many at once."""

from collections import Counter
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from .. import options as of
from ..session import Session

if TYPE_CHECKING:
    from ...runtime.bench.serve.measure import Served, Spread


def bench_serve(
    session: Session,
    model: of.OptionalModelArgument = None,
    url: of.UrlOption = None,
    requests: of.RequestsOption = 64,
    concurrency: of.ConcurrencyOption = 8,
    rate: of.RateOption = None,
    prompt_tokens: of.PromptTokensOption = 128,
    answer_tokens: of.AnswerTokensOption = 128,
    chat: of.ChatOption = False,
    api_key: of.AskedKeyOption = None,
) -> None:
    """Measure how fast a running server answers many at once.

    It may be any server that speaks OpenAI's language. Prompts are random words, others for each request; answers are
    greedy and streamed, and of full length where the server can be told so. Times are those that clients see.

    \b
    Examples:
      unillm bench serve smollm2:135m --concurrency 32
      unillm bench serve --url http://127.0.0.1:8000/v1 --rate 4 --requests 200 --json
    """
    from ...runtime.bench.serve.load import Load
    from ...runtime.bench.serve.measure import Target, measure
    from ...runtime.client.wire import base_url

    address = url.rstrip("/") if url else f"{base_url(None, session.environ)}/v1"
    target = Target(address, model, api_key or session.environ.get("UNILLM_API_KEY"), chat)
    load = Load(requests, concurrency, rate, prompt_tokens, answer_tokens)
    _show(session, target.url, measure(target, load, partial(_tell, session)))


def _tell(session: Session, done: int, requests: int) -> None:
    if done % max(1, requests // 10) == 0:
        session.output.say(f"{done} of {requests} requests")


def _show(session: Session, url: str, served: "Served") -> None:
    if session.json:
        session.output.data(_as_data(url, served))
        return
    session.output.table(["TIMES", "MEDIAN", "P99", "MEAN"], [_row(one) for one in served.spreads if one.values])
    asked = len(served.answers)
    session.output.line(
        f"{served.answers_per_second:.1f} tokens of answers a second, {served.tokens_per_second:.1f} with prompts, "
        f"{served.requests_per_second:.2f} requests"
    )
    session.output.line(
        f"{asked} requests in {served.seconds:.1f} s, of {served.prompt_tokens / asked:.0f} tokens and "
        f"{served.answer_tokens / asked:.0f} of answer on average"
    )
    for fault, count in Counter(served.faults).items():
        session.output.warn(f"{count} requests failed: {fault}")


def _row(spread: "Spread") -> list[str]:
    return [spread.name, *(_time(seconds) for seconds in (spread.p50, spread.p99, spread.mean))]


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _as_data(url: str, served: "Served") -> dict[str, object]:
    return {
        "url": url,
        "load": asdict(served.load),
        "seconds": served.seconds,
        "answered": len(served.answers),
        "failed": dict(Counter(served.faults)),
        "prompt_tokens": served.prompt_tokens,
        "answer_tokens": served.answer_tokens,
        "answer_tokens_per_second": served.answers_per_second,
        "tokens_per_second": served.tokens_per_second,
        "requests_per_second": served.requests_per_second,
        "times": {
            one.name: {"median": one.p50, "p99": one.p99, "mean": one.mean, "values": one.values}
            for one in served.spreads
            if one.values
        },
    }
