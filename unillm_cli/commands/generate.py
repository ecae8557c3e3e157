"""`unillm generate`: one prompt, one answer, streamed."""

from collections.abc import Iterator
from dataclasses import replace

from ...runtime.params import SamplingParams
from ...runtime.results import Completion, Update
from .. import options as of
from ..errors import UsageError
from ..groups import Forms, LoadingHere, Sampling, Thinking, Where
from ..prompts import read_prompt
from ..session import Session
from ..speaking import Said, Speaker, choose_server, open_speaker
from ..timings import Pace, as_data, block


def generate(
    session: Session,
    words: of.WordsArgument = None,
    prompt: of.PromptOption = None,
    model: of.ModelOption = None,
    system: of.SystemOption = None,
    logit_bias: of.LogitBiasOption = None,
    raw: of.RawOption = False,
    verbose: of.VerboseOption = False,
    *,
    sampling: Sampling,
    forms: Forms,
    thinking: Thinking,
    loading: LoadingHere,
    where: Where,
) -> None:
    """Answer a prompt.

    The prompt is what was typed, after what comes on standard input, if anything does. A model that is not here is
    fetched first. The answer goes to standard output, all else to standard error; on a terminal the answer loses escape
    sequences, in a pipe it stays as the model gave it. Where neither you nor the model says how to sample, it is with
    temperature 0.8, top-k 40 and top-p 0.9.

    Where a server runs (unillm serve), it answers; --local, and flags that say how a model is loaded, have it loaded in
    this process. What a model thinks before it speaks is shown on a terminal, and is no part of the answer.

    \b
    Examples:
      unillm generate --model smollm2:135m --prompt "Explain gravity in one sentence"
      unillm generate "Write a haiku about rain"
      git diff | unillm generate -m qwen3:0.6b "Write a commit message"
      unillm generate "Is a whale a fish?" --choice yes --choice no
      unillm generate "Name a city" --schema city.json
    """
    if raw and system is not None:
        raise UsageError("--raw and --system exclude each other", "--raw sends the prompt without any template")
    params = SamplingParams(**sampling.given(), **forms.given(), logit_bias=_biases(logit_bias))
    think = thinking.wanted
    text = read_prompt(session, words or [], prompt, exact=raw)
    settings = session.settings(model=model, **loading.flags())
    server = choose_server(session, settings, where.host, loading.flags(), local=where.local)
    with open_speaker(session, settings, server) as speaker:
        answer = speaker.answer(_said(text, system), params, raw=raw, think=think)
        completion = _answered(session, answer.updates, verbose=verbose, hides=thinking.hide_thinking)
        _end(session, speaker, completion, params, verbose=verbose)


def _said(text: str, system: str | None) -> Said:
    if system is None:
        return text
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


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


def _answered(session: Session, updates: Iterator[Update], *, verbose: bool, hides: bool) -> Completion:
    """Print the answer as it comes; what was said stays, also when it is broken off. `hides` its thoughts."""
    stream = session.output.stream()
    pace = Pace(stream.aside)
    completion = None
    try:
        for update in updates:
            if not session.json:
                stream.think("" if hides else update.thought)
                stream.write(update.text)
            if verbose and update.finish_reason is None:
                pace.count(len(update.token_ids))
            completion = update.completion or completion
    finally:
        stream.finish()
    if completion is None:
        raise RuntimeError("the engine ended without a completion")
    return replace(completion, thought="") if hides else completion


def _end(session: Session, speaker: Speaker, completion: Completion, params: SamplingParams, *, verbose: bool) -> None:
    """What there is to say of a whole answer."""
    if completion.error is not None:
        raise completion.error
    if session.json:
        session.output.data(as_data(completion, speaker.name, speaker.load_seconds))
    if completion.finish_reason == "length" and params.max_tokens is None:
        session.output.warn(speaker.why_cut(completion))
    for line in block(completion, speaker.load_seconds) if verbose else ():
        session.output.note(line)
