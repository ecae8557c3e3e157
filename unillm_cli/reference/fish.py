"""The completion of fish."""

from .describe import HELP, VERSION, Command, Parameter
from .words import MODELS, names, quoted, takes_models, words


def script(commands: list[Command]) -> str:
    """The file that the shell reads."""
    verbs = " ".join(name for command in commands for name in names(command))
    alone = f"not __fish_seen_subcommand_from {verbs}"
    lines = [
        "# fish completion for unillm. Generated from the table of commands; do not edit.",
        "",
        "complete -c unillm -f",
        *(f"complete -c unillm -n {quoted(alone)} {_option(option)}" for option in (VERSION, HELP)),
    ]
    for command in commands:
        lines += ["", *_command(command, alone)]
    return "\n".join(lines) + "\n"


def _command(command: Command, alone: str) -> list[str]:
    here = f"complete -c unillm -n {quoted('__fish_seen_subcommand_from ' + ' '.join(names(command)))}"
    lines = [
        f"complete -c unillm -n {quoted(alone)} -a {name} -d {quoted(command.verb.summary)}" for name in names(command)
    ]
    lines += [f"{here} {_option(option)}" for option in command.options]
    return lines + ([f"{here} -a {quoted(f'({MODELS})')}"] if takes_models(command) else [])


def _option(option: Parameter) -> str:
    flags = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
    return f"{flags}{_value(option)} -d {quoted(option.help)}"


def _value(option: Parameter) -> str:
    if option.metavar is None:
        return ""
    if option.wants == "MODEL":
        return f" -x -a {quoted(f'({MODELS})')}"
    values = words(option)
    return f" -x -a {quoted(' '.join(values))}" if values else " -r"
