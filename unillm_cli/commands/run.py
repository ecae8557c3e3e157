"""`unillm run`: one answer where there is a prompt, else the shell. The name that Ollama's users know."""

from .. import options as of
from ..errors import UsageError
from ..groups import Forms, LoadingHere, Sampling, Thinking, Where
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
    verbose: of.VerboseOption = False,
    *,
    sampling: Sampling,
    forms: Forms,
    thinking: Thinking,
    loading: LoadingHere,
    where: Where,
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
    given = forms.given()
    if words or not is_typed_at(session.stdin):
        generate(
            session,
            words,
            model=model,
            system=system,
            verbose=verbose,
            sampling=sampling,
            forms=forms,
            thinking=thinking,
            loading=loading,
            where=where,
        )
    elif given:
        raise UsageError(
            f"--{next(iter(given))} needs a prompt", "in the shell, /schema says what answers must be like"
        )
    else:
        shell(
            session,
            model,
            continue_=continue_,
            resume=resume,
            system=system,
            verbose=verbose,
            sampling=sampling,
            thinking=thinking,
            loading=loading,
            where=where,
        )
