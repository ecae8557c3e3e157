"""The man pages: one a command, and unillm(1), which names them all."""

from collections.abc import Iterable, Mapping

from ..errors import Exit
from ..settings import KEYS
from .describe import HELP, VERSION, Command, Parameter

_ENDINGS = {
    Exit.OK: "It went well.",
    Exit.FAILED: "It failed; the sentence on standard error says why.",
    Exit.USAGE: "The words of the command, or a setting, cannot be.",
    Exit.NOT_FOUND: "The model or the file is not there.",
    Exit.NOT_ALLOWED: "The model is gated or private.",
    Exit.NETWORK: "The source is out of reach.",
    Exit.NO_ROOM: "Out of memory, or of disk space.",
    Exit.BUSY: "Something else holds what is needed.",
    Exit.INTERRUPTED: "Interrupted by Ctrl-C.",
    Exit.READER_LEFT: "Whoever read the output has gone.",
}


def pages(commands: Iterable[Command]) -> dict[str, str]:
    """File name to text."""
    listed = list(commands)
    return {"unillm.1": _main_page(listed), **{f"unillm-{one.name}.1": _page(one, listed) for one in listed}}


def _main_page(commands: list[Command]) -> str:
    return "".join(
        [
            head("unillm", "find an open model by name, fetch it, verify it, run it"),
            section("SYNOPSIS", ".B unillm\n.RI [ options ]\n.I command\n.RI [ arguments ]\n"),
            section("COMMANDS", "".join(map(_listed, commands))),
            section("OPTIONS", "".join(map(_option, (VERSION, HELP)))),
            section("SETTINGS", _settings()),
            section("EXIT STATUS", "".join(item(f"\\fB{code}\\fR", _ENDINGS[code]) for code in Exit)),
            _see_also(commands, "unillm"),
        ]
    )


def _page(command: Command, commands: list[Command]) -> str:
    also = "".join(f"Also called as \\fBunillm {_plain(name)}\\fR.\n" for name in command.verb.aliases)
    arguments = "".join(item(f"\\fI{_plain(one.wants)}\\fR", _told(one)) for one in command.arguments)
    return "".join(
        [
            head(f"unillm-{command.name}", command.verb.summary.rstrip(".").lower()),
            section("SYNOPSIS", _synopsis(command)),
            section("DESCRIPTION", "".join(map(paragraph, command.paragraphs)) + (f".PP\n{also}" if also else "")),
            section("ARGUMENTS", arguments),
            section("OPTIONS", "".join(map(_option, command.options))),
            _see_also(commands, f"unillm-{command.name}"),
        ]
    )


def head(name: str, line: str, part: int = 1) -> str:
    return (
        f'.TH {_quoted(name.upper())} {part} "" "unillm" "unillm manual"\n.SH NAME\n{_plain(name)} \\- {_plain(line)}\n'
    )


def section(title: str, body: str) -> str:
    return f".SH {_quoted(title) if ' ' in title else title}\n{body}" if body else ""


def _synopsis(command: Command) -> str:
    words = [".B unillm", command.name.replace("-", "\\-")]
    arguments = "".join(map(_placed, command.arguments))
    return f"{' '.join(words)}\n.RI [ options ]\n{arguments}"


def _placed(argument: Parameter) -> str:
    """An argument as the synopsis writes it."""
    left, right = ("", "") if argument.required else ("[", "]")
    more = " ..." if argument.many else ""
    return f"{left}\\fI{_plain(argument.wants)}\\fR{more}{right}\n"


def paragraph(text: str) -> str:
    """A paragraph flows; one that begins with \\b keeps its lines."""
    return verbatim(text[2:]) if text.startswith("\b\n") else f".PP\n{_lines(text)}"


def verbatim(text: str) -> str:
    """Lines that stay as they are."""
    return f".PP\n.nf\n{_lines(text)}.fi\n"


def _lines(text: str) -> str:
    return "".join(f"{_line(line)}\n" for line in text.splitlines())


def _line(text: str) -> str:
    """A line that begins with a dot or a quote would be a request."""
    plain = _plain(text)
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain


def _option(option: Parameter) -> str:
    names = ", ".join(f"\\fB{_plain(flag)}\\fR" for flag in option.flags)
    value = f" \\fI{_plain(option.metavar)}\\fR" if option.metavar else ""
    return item(names + value, _told(option))


def _told(parameter: Parameter) -> str:
    return parameter.help + (f" Default: {parameter.default}." if parameter.default is not None else "")


def item(term: str, text: str) -> str:
    return f".TP\n{term}\n{_lines(text)}"


def _listed(command: Command) -> str:
    return item(f"\\fB{_plain(command.name)}\\fR", command.verb.summary)


def _settings() -> str:
    """The table of settings, and where they are read from."""
    head = (
        "A flag wins over an environment variable, that over a line of\n.IR config.toml ,\n"
        "that over what is built in.\n"
        "The file lies in the platform's configuration folder\n(on Linux \\fI~/.config/unillm\\fR), or where\n"
        ".B UNILLM_CONFIG\npoints.\n"
    )
    rows: Mapping[str, str] = {f"\\fB{name}\\fR, \\fB{key.variable}\\fR": key.purpose for name, key in KEYS.items()}
    return head + "".join(item(term, f"{text[0].upper()}{text[1:]}.") for term, text in rows.items())


def _see_also(commands: list[Command], own: str) -> str:
    names = [name for name in ("unillm", *(f"unillm-{one.name}" for one in commands)) if name != own]
    pages = [(name, 1) for name in names] + ([("unillm-internals", 7)] if own == "unillm" else [])
    return section("SEE ALSO", ",\n".join(f".BR {_plain(name)} ({part})" for name, part in pages) + "\n")


def _plain(text: str) -> str:
    return text.replace("\\", "\\e").replace("-", "\\-")


def _quoted(text: str) -> str:
    return f'"{_plain(text)}"'
