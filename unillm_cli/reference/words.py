"""What the completions of all shells share: which words stand for what.

The words of the table are written into the scripts; names of models are asked for, because they change. A script knows
what a value is by its metavar.
"""

from collections.abc import Iterable

from .describe import Command, Parameter

MODELS = "unillm complete models 2>/dev/null"
_DEVICES = ("auto", "cpu", "cuda", "mps")


def names(command: Command) -> tuple[str, ...]:
    """Everything that the command may be called by."""
    return (command.name, *command.verb.aliases)


def words(parameter: Parameter) -> tuple[str, ...]:
    """The values that can be listed here and now."""
    return _DEVICES if parameter.wants == "DEVICE" else parameter.choices


def takes_models(command: Command) -> bool:
    """Whether its arguments are names of models."""
    return any(one.wants == "MODEL" for one in command.arguments)


def flags(options: Iterable[Parameter]) -> str:
    return " ".join(flag for option in options for flag in option.flags)


def quoted(text: str) -> str:
    """`text` as one word of any of the three shells."""
    return "'" + text.replace("'", "'\\''") + "'"
