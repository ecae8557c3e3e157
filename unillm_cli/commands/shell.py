"""`unillm shell`: talk with a model."""

from .. import options as of
from ..session import Session


def shell(
    session: Session,
    model: of.OptionalModelArgument = None,
    continue_: of.ContinueOption = False,
    resume: of.ResumeOption = None,
    system: of.SystemOption = None,
    max_tokens: of.MaxTokensOption = None,
    temperature: of.TemperatureOption = None,
    top_k: of.TopKOption = None,
    top_p: of.TopPOption = None,
    seed: of.SeedOption = None,
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
    """Talk with a model.

    Ctrl-C stops an answer, Ctrl-D leaves, /? lists what else there is: /set, /show, /load, /save, /retry, /edit and
    others, as Ollama's users know them. Text between three quotes may have many lines; what is pasted is never a
    command. Answers are rendered on a terminal and plain elsewhere; without a terminal every line that comes in is a
    question.

    A model that is not here is fetched first. Where a server runs (unillm serve), it answers; --local, and flags that
    say how a model is loaded, have it loaded in this process.

    Conversations are kept for you alone: --continue goes on with the last one, unillm history lists them all.

    \b
    Examples:
      unillm shell
      unillm shell qwen3:0.6b --system "Answer in French"
      unillm shell --continue
    """
    from ..shell.loop import Wanted, open_shell  # late: help need not wait for all that a shell has

    sampling = {"max_tokens": max_tokens, "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    own = {
        "context": context,
        "device": device,
        "dtype": dtype,
        "kv_dtype": kv_dtype,
        "exact": exact,
        "quantize": quantize,
        "draft": draft,
        "offline": offline,
    }
    wanted = Wanted(
        model=model,
        system=system,
        parameters={name: value for name, value in sampling.items() if value is not None},
        own=own,
        host=host,
        local=local,
        resumed=resume or ("" if continue_ else None),
        verbose=verbose,
    )
    open_shell(session, wanted)
