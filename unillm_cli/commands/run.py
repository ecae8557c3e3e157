"""`unillm run`: one answer where there is a prompt, else the shell. The name that Ollama's users know."""

from typing import Any

from .. import options as of
from ..errors import UsageError
from ..prompts import is_typed_at
from ..session import Session
from .generate import generate
from .shell import shell


def run(
    session: Session,
    model: of.ModelArgument,
    words: of.WordsArgument = None,
    continue_: of.ContinueOption = False,
    resume: of.ResumeOption = None,
    system: of.SystemOption = None,
    max_tokens: of.MaxTokensOption = None,
    temperature: of.TemperatureOption = None,
    top_k: of.TopKOption = None,
    top_p: of.TopPOption = None,
    seed: of.SeedOption = None,
    schema: of.SchemaOption = None,
    regex: of.RegexOption = None,
    choice: of.ChoiceOption = None,
    grammar: of.GrammarOption = None,
    context: of.ContextOption = None,
    device: of.DeviceOption = None,
    dtype: of.DtypeOption = None,
    kv_dtype: of.KVDtypeOption = None,
    exact: of.ExactOption = None,
    quantize: of.QuantizeOption = None,
    draft: of.DraftOption = None,
    offline: of.OfflineOption = None,
    host: of.HostOption = None,
    local: of.LocalOption = False,
    verbose: of.VerboseOption = False,
) -> None:
    """Talk with a model, or have it answer one prompt.

    With a prompt, typed or on standard input, it is unillm generate; at a terminal without one, unillm shell. A model
    that is not here is fetched first, with its progress on standard error.

    \b
    Examples:
      unillm run smollm2:135m
      unillm run smollm2:135m "Why is the sky blue?"
      git diff | unillm run qwen3:0.6b "Write a commit message"
    """
    common: dict[str, Any] = {
        "system": system,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "context": context,
        "device": device,
        "dtype": dtype,
        "kv_dtype": kv_dtype,
        "exact": exact,
        "quantize": quantize,
        "draft": draft,
        "offline": offline,
        "host": host,
        "local": local,
        "verbose": verbose,
    }
    forms: dict[str, Any] = {"schema": schema, "regex": regex, "choice": choice, "grammar": grammar}
    given = [name for name, value in forms.items() if value]
    if words or not is_typed_at(session.stdin):
        generate(session, words, model=model, **forms, **common)
    elif given:
        raise UsageError(f"--{given[0]} needs a prompt", "in the shell, /schema says what answers must look like")
    else:
        shell(session, model, continue_, resume, **common)
