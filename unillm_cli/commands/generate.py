"""`unillm generate`: one prompt, one answer, streamed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...runtime.params import SamplingParams
from ...runtime.results import Completion, Update
from .. import options as of
from ..asking import ask, is_for_here
from ..client import Opened, open_engine
from ..errors import UsageError
from ..prompts import read_prompt
from ..serving import find_server
from ..session import Session
from ..settings import Settings
from ..timings import Pace, as_data, block

if TYPE_CHECKING:
    from ...runtime.client.sync import Client

# How people's chat programs sample where a model says nothing of it. The engine's own default is the bare distribution,
# from which a small model picks nonsense.
USUAL = {"temperature": 0.8, "top_k": 40, "top_p": 0.9}


def generate(
    session: Session,
    words: of.WordsArgument = None,
    prompt: of.PromptOption = None,
    model: of.ModelOption = None,
    system: of.SystemOption = None,
    max_tokens: of.MaxTokensOption = None,
    temperature: of.TemperatureOption = None,
    top_k: of.TopKOption = None,
    top_p: of.TopPOption = None,
    min_p: of.MinPOption = None,
    typical_p: of.TypicalPOption = None,
    repetition_penalty: of.RepetitionPenaltyOption = None,
    presence_penalty: of.PresencePenaltyOption = None,
    frequency_penalty: of.FrequencyPenaltyOption = None,
    logit_bias: of.LogitBiasOption = None,
    seed: of.SeedOption = None,
    stop: of.StopOption = None,
    raw: of.RawOption = False,
    context: of.ContextOption = None,
    device: of.DeviceOption = None,
    dtype: of.DtypeOption = None,
    kv_dtype: of.KVDtypeOption = None,
    prefix_cache: of.PrefixCacheOption = None,
    max_batch_tokens: of.MaxBatchTokensOption = None,
    max_running: of.MaxRunningOption = None,
    exact: of.ExactOption = None,
    quantize: of.QuantizeOption = None,
    draft: of.DraftOption = None,
    offline: of.OfflineOption = None,
    host: of.HostOption = None,
    local: of.LocalOption = False,
    verbose: of.VerboseOption = False,
) -> None:
    """Answer a prompt.

    The prompt is what was typed, after what comes on standard input, if anything does. A model that is not here is
    fetched first. The answer goes to standard output, all else to standard error; on a terminal the answer loses escape
    sequences, in a pipe it stays as the model gave it. Where neither you nor the model says how to sample, it is with
    temperature 0.8, top-k 40 and top-p 0.9.

    Where a server runs (unillm serve), it answers; --local, and flags that say how a model is loaded, have it loaded in
    this process.

    \b
    Examples:
      unillm generate --model smollm2:135m --prompt "Explain gravity in one sentence"
      unillm generate "Write a haiku about rain"
      git diff | unillm generate -m qwen3:0.6b "Write a commit message"
    """
    if raw and system is not None:
        raise UsageError("--raw and --system exclude each other", "--raw sends the prompt without any template")
    params = SamplingParams(
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical_p,
        repetition_penalty=repetition_penalty,
        presence_penalty=presence_penalty,
        frequency_penalty=frequency_penalty,
        logit_bias=_biases(logit_bias),
        seed=seed,
        stop=tuple(stop or ()),
    )
    text = read_prompt(session, words or [], prompt, exact=raw)
    own = {
        "context": context,
        "device": device,
        "dtype": dtype,
        "kv_dtype": kv_dtype,
        "prefix_cache": prefix_cache,
        "max_batch_tokens": max_batch_tokens,
        "max_running": max_running,
        "exact": exact,
        "quantize": quantize,
        "draft": draft,
        "offline": offline,
    }
    settings = session.settings(model=model, **own)
    server = _server(session, settings, host, [name for name, value in own.items() if value is not None], local=local)
    if server is not None:
        with server:
            _from_server(session, server, settings, text, system, params, raw=raw, verbose=verbose)
        return
    with open_engine(session, settings) as opened:
        params = _usual(params, opened.engine.defaults)
        updates = _updates(opened, text, system, params, raw=raw)
        completion = _answered(session, updates, verbose=verbose)
        _end(session, opened, completion, params, verbose=verbose)


def _server(
    session: Session, settings: Settings, host: str | None, own: Sequence[str], *, local: bool
) -> "Client | None":
    """The server that answers; None where this process does: it was asked to, or has to, or nobody else is there."""
    if host is not None and (local or own):
        flag = "local" if local else own[0].replace("_", "-")
        raise UsageError(f"--host and --{flag} exclude each other", f"--{flag} is for a model in this process")
    if local or own or (host is None and is_for_here(settings.model)):
        return None
    return find_server(session, host)


def _from_server(
    session: Session,
    server: "Client",
    settings: Settings,
    text: str,
    system: str | None,
    params: SamplingParams,
    *,
    raw: bool,
    verbose: bool,
) -> None:
    served = ask(session, server, settings.model, text, system, params, raw=raw)
    completion = _answered(session, served.updates, verbose=verbose)
    if completion.error is not None:
        raise completion.error
    if session.json:
        session.output.data(as_data(completion, served.name, served.load_seconds))
    if completion.finish_reason == "length" and params.max_tokens is None:
        usage = completion.usage
        session.output.warn(
            f"the answer was cut after {usage.completion_tokens} tokens: the context is full, or a limit"
        )
    for line in block(completion, served.load_seconds) if verbose else ():
        session.output.note(line)


def _biases(given: list[str] | None) -> dict[int, float] | None:
    """What `--logit-bias` says; the numbers' ranges are the engine's to check."""
    if not given:
        return None
    biases: dict[int, float] = {}
    for text in given:
        token, _, bias = text.partition("=")
        try:
            biases[int(token)] = float(bias)
        except ValueError:
            raise UsageError(f"--logit-bias {text}: not a token id, = and a number", "--logit-bias 1234=-5") from None
    return biases


def _usual(params: SamplingParams, stated: Mapping[str, Any]) -> SamplingParams:
    """`params`, and where neither the user nor the model chose a temperature the usual ones, but for what it states."""
    if params.temperature is not None or "temperature" in stated:
        return params
    return params.over({name: stated.get(name, value) for name, value in USUAL.items()})


def _updates(opened: Opened, text: str, system: str | None, params: SamplingParams, *, raw: bool) -> Iterator[Update]:
    """The answer as it comes: through the model's chat template where it has one."""
    if raw or (system is None and not opened.engine.has_chat_template):
        return opened.engine.stream(text, params)
    messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return opened.engine.chat(messages, params, stream=True)


def _answered(session: Session, updates: Iterator[Update], *, verbose: bool) -> Completion:
    """Print the answer as it comes; what was said stays, also when it is broken off."""
    stream = session.output.stream()
    pace = Pace(stream.aside)
    completion = None
    try:
        for update in updates:
            if not session.json:
                stream.write(update.text)
            if verbose and update.finish_reason is None:
                pace.count(len(update.token_ids))
            completion = update.completion or completion
    finally:
        stream.finish()
    if completion is None:
        raise RuntimeError("the engine ended without a completion")
    return completion


def _end(session: Session, opened: Opened, completion: Completion, params: SamplingParams, *, verbose: bool) -> None:
    """What there is to say of a whole answer."""
    if completion.error is not None:
        raise completion.error
    if session.json:
        session.output.data(as_data(completion, opened.name, opened.load_seconds))
    if completion.finish_reason == "length" and params.max_tokens is None:
        session.output.warn(_why_cut(completion, opened.engine.context))
    for line in block(completion, opened.load_seconds) if verbose else ():
        session.output.note(line)


def _why_cut(completion: Completion, context: int) -> str:
    """What ended an answer that nobody limited."""
    usage = completion.usage
    if usage.prompt_tokens + usage.completion_tokens >= context:
        return f"the answer was cut: the context of {context} tokens is full; --context makes it longer"
    return (
        f"the answer was cut at the model's own limit of {usage.completion_tokens} tokens; --max-tokens asks for more"
    )
