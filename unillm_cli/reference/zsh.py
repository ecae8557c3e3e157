"""The completion of zsh."""

from .describe import HELP, VERSION, Command, Parameter
from .words import MODELS, names, quoted, words


def script(commands: list[Command]) -> str:
    """The file that the shell reads."""
    verbs = "".join(
        f"    {quoted(f'{name}:{command.verb.summary}')}\n" for command in commands for name in names(command)
    )
    cases = "".join(f"    {'|'.join(names(one))})\n      _arguments -s \\\n{_specs(one)} ;;\n" for one in commands)
    return f"""\
#compdef unillm
# zsh completion for unillm. Generated from the table of commands; do not edit.

_unillm_models() {{
  local -a names
  names=(${{(f)"$({MODELS})"}})
  compadd -M 'r:|:=* r:|=*' -- $names
}}

_unillm() {{
  local curcontext=$curcontext state line
  local -a verbs
  verbs=(
{verbs}  )
  _arguments -C \\
{"".join(f"    {spec} {chr(92)}{chr(10)}" for option in (VERSION, HELP) for spec in _option(option))}\
    '1: :->verb' \\
    '*:: :->words'
  case $state in
    verb) _describe -t commands 'command' verbs; return ;;
  esac
  case $line[1] in
{cases}  esac
}}

if [[ $funcstack[1] == _unillm ]]; then _unillm "$@"; else compdef _unillm unillm; fi
"""


def _specs(command: Command) -> str:
    specs = [spec for option in command.options for spec in _option(option)]
    specs += [quoted(f"*:{one.wants.lower()}:{_action(one)}") for one in command.arguments]
    return " \\\n".join(f"        {spec}" for spec in specs)


def _option(option: Parameter) -> list[str]:
    told = option.help.rstrip(".").replace("[", "(").replace("]", ")").replace(":", "\\:")
    value = f":{option.wants.lower().replace('|', ' ')}:{_action(option)}" if option.metavar else ""
    return [quoted(f"{flag}[{told}]{value}") for flag in option.flags]


def _action(parameter: Parameter) -> str:
    if parameter.wants == "MODEL":
        return "_unillm_models"
    if parameter.wants in ("PATH", "FILE", "FOLDER"):
        return "_files"
    values = words(parameter)
    return f"({' '.join(values)})" if values else " "
