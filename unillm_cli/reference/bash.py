"""The completion of bash."""

from .describe import HELP, VERSION, Command, Parameter
from .words import MODELS, flags, names, quoted, takes_models, words

_HEAD = "# bash completion for unillm. Generated from the table of commands; do not edit.\n"

# Names are compared here and not by `compgen -W`, which would run what stands in $( ) in a name.
_ASK_FOR_MODELS = f"""
_unillm_models() {{
  local name skip=
  # A colon ends a word in bash: what stands before it must not come again.
  if [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]]; then skip=${{cur%:*}}:; fi
  while IFS= read -r name; do
    if [[ $name == "$cur"* ]]; then COMPREPLY+=("${{name#"$skip"}}"); fi
  done < <({MODELS})
}}
"""

_JOIN_WORDS = """
# The words of the line, joined again where bash split them at a colon or an equals sign.
_unillm_words() {
  local i joined=0
  words=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    if [[ $i -gt 0 && ( ${COMP_WORDS[i]} == [:=] || $joined == 1 ) && ${#words[@]} -gt 1 ]]; then
      words[${#words[@]} - 1]+=${COMP_WORDS[i]}
      [[ ${COMP_WORDS[i]} == [:=] ]] && joined=1 || joined=0
    else
      words+=("${COMP_WORDS[i]}")
    fi
  done
  cur=${words[${#words[@]} - 1]}
  prev=${words[${#words[@]} - 2]}
  if [[ $cur == --*=* ]]; then prev=${cur%%=*} cur=${cur#*=}; fi
}
"""


def script(commands: list[Command]) -> str:
    """The file that the shell reads."""
    return f"{_HEAD}{_ASK_FOR_MODELS}{_JOIN_WORDS}{_complete(commands)}\ncomplete -o default -F _unillm unillm\n"


def _complete(commands: list[Command]) -> str:
    verbs = " ".join(name for command in commands for name in names(command))
    cases = "".join(f"    {'|'.join(names(one))}) flags={quoted(flags(one.options))} ;;\n" for one in commands)
    return f"""
_unillm() {{
  local cur prev verb words flags i
  COMPREPLY=()
  _unillm_words
  verb=
  for ((i = 1; i < ${{#words[@]}} - 1; i++)); do
    if [[ ${{words[i]}} != -* ]]; then verb=${{words[i]}}; break; fi
  done
  if [[ -z $verb ]]; then
    COMPREPLY=($(compgen -W {quoted(f"{verbs} {flags((VERSION, HELP))}")} -- "$cur"))
    return
  fi
  flags=
  case $verb in
{cases}  esac
  case "$verb $prev" in
{_values(commands)}  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$cur"))
    return
  fi
  case $verb in
{_arguments(commands)}  esac
}}
"""


def _values(commands: list[Command]) -> str:
    """What may follow an option that takes a value; whatever is not listed is left to the person."""
    rows: dict[str, list[str]] = {}
    for command in commands:
        for option in (one for one in command.options if one.metavar):
            patterns = [f'"{name} {flag}"' for name in names(command) for flag in option.flags]
            rows.setdefault(_value(option), []).extend(patterns)
    return "".join(f"    {'|'.join(patterns)}) {action}return ;;\n" for action, patterns in rows.items())


def _value(parameter: Parameter) -> str:
    if parameter.wants == "MODEL":
        return "_unillm_models; "
    values = words(parameter)
    return f'COMPREPLY=($(compgen -W {quoted(" ".join(values))} -- "$cur")); ' if values else ""


def _arguments(commands: list[Command]) -> str:
    models = [name for command in commands if takes_models(command) for name in names(command)]
    return f"    {'|'.join(models)}) _unillm_models ;;\n"
