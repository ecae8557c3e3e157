"""`unillm shell`: talk with a model."""

from .. import options as of
from ..errors import UsageError
from ..groups import LoadingHere, Sampling, Thinking, Where
from ..session import Session


def shell(
    session: Session,
    name: of.OptionalModelArgument = None,
    model: of.ModelOption = None,
    continue_: of.ContinueOption = False,
    resume: of.ResumeOption = None,
    system: of.SystemOption = None,
    verbose: of.VerboseOption = False,
    *,
    sampling: Sampling,
    thinking: Thinking,
    loading: LoadingHere,
    where: Where,
) -> None:
    """Talk with a model.

    Ctrl-C stops an answer, Ctrl-D leaves, /? lists what else there is: /set, /show, /load, /save, /retry, /edit and
    others, as Ollama's users know them. Text between three quotes may have many lines; what is pasted is never a
    command. Answers are rendered on a terminal and plain elsewhere; without a terminal every line that comes in is a
    question, and one that fails makes it end with an error's code.

    A model that is not here is fetched first. Where a server runs (unillm serve), it answers; --local, and flags that
    say how a model is loaded, have it loaded in this process.

    Conversations are kept for you alone: --continue goes on with the last one, unillm history lists them all.

    \b
    Examples:
      unillm shell
      unillm shell qwen3:0.6b --system "Answer in French"
      unillm shell --continue
    """
    if name is not None and model is not None:
        raise UsageError("the model is named twice", "name it with --model, or as the command's word")
    from ..shell.loop import Wanted, open_shell  # late: help need not wait for all that a shell has

    wanted = Wanted(
        model=name or model,
        system=system,
        parameters=sampling.given(),
        own=loading.flags(),
        host=where.host,
        local=where.local,
        resumed=resume or ("" if continue_ else None),
        verbose=verbose,
        think=thinking.wanted,
        hides_thoughts=thinking.hide_thinking,
    )
    open_shell(session, wanted)
