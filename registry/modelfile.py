'''The Modelfile: a recipe for a model of one's own, in the language that Ollama has made common.

    FROM llama3:8b                    a model's name, or a path beside the Modelfile
    PARAMETER temperature 0.3         how it samples; `stop` may come several times
    SYSTEM """You are a pirate."""    text in three quotes may have many lines, other text one
    TEMPLATE, LICENSE                 the same
    MESSAGE user Hello!               words that every conversation begins with
    # a comment

The words' case does not matter. What is read here is text: nothing of it is looked up or run.
'''

import codecs
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

from .errors import ModelfileError
from .files import ROLES, Message
from .formats.reader import open_regular

MAX_BYTES = 4 << 20
Value: TypeAlias = float | int | str | list[str]

_QUOTES = '"""'
_REFUSED = {
    "ADAPTER": "adapters cannot be put on a model yet: merge it into the weights first",
    "DRAFT": "draft models cannot be pinned to a model yet",
}
_LEFT_OUT = {"RENDERER", "PARSER", "REQUIRES"}  # they name parts of Ollama's own
_NUMBERS: Mapping[str, tuple[str, type[int] | type[float]]] = {
    "temperature": ("temperature", float),
    "top_k": ("top_k", int),
    "top_p": ("top_p", float),
    "min_p": ("min_p", float),
    "typical_p": ("typical_p", float),
    "repeat_penalty": ("repetition_penalty", float),
    "repetition_penalty": ("repetition_penalty", float),
    "presence_penalty": ("presence_penalty", float),
    "frequency_penalty": ("frequency_penalty", float),
    "seed": ("seed", int),
    "num_predict": ("max_tokens", int),
    "max_tokens": ("max_tokens", int),
    "num_ctx": ("context", int),
    "context": ("context", int),
}
_WITHOUT_EFFECT = {
    *("num_gpu", "main_gpu", "num_thread", "num_batch", "num_keep", "num_gqa", "repeat_last_n", "penalize_newline"),
    *("mirostat", "mirostat_eta", "mirostat_tau", "tfs_z", "use_mmap", "use_mlock", "numa", "low_vram", "f16_kv"),
    *("vocab_only", "logits_all", "rope_frequency_base", "rope_frequency_scale"),
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its word in capitals, what follows it, and the line that it begins on."""

    line: int
    word: str
    text: str


@dataclass(slots=True)
class Modelfile:
    """What a Modelfile says. `lines` has the line of each instruction and parameter, by our name for it."""

    path: Path
    source: str = ""
    parameters: dict[str, Value] = field(default_factory=dict)
    template: str | None = None
    system: str | None = None
    licence: str | None = None
    messages: tuple[Message, ...] = ()
    lines: dict[str, int] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def error(self, of: str, reason: str) -> ModelfileError:
        """What is wrong with the instruction or parameter `of`."""
        return ModelfileError(self.path, self.lines.get(of), reason)


def read_modelfile(path: Path) -> Modelfile:
    """The recipe in a file. Raises `ModelfileError`, or `FormatError` where it is no regular file."""
    if not path.exists():
        raise ModelfileError(path, None, "there is no such file", "write one, or name another: -f PATH")
    with os.fdopen(open_regular(path), "rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ModelfileError(path, None, f"it is longer than {MAX_BYTES} bytes")
    return parse_modelfile(path, _decoded(path, data))


def parse_modelfile(path: Path, text: str) -> Modelfile:
    """The same of a text; `path` is what its errors name."""
    read = Modelfile(path)
    for one in _instructions(path, text):
        _take(read, one)
    if not read.source:
        raise ModelfileError(path, None, "there is no FROM: it says which model this one is made from")
    return read


def translate_parameters(path: Path, found: Mapping[str, object]) -> Modelfile:
    """Parameters that Ollama keeps as data: in our words, and what of them is left out. `path` is their file."""
    read = Modelfile(path)
    for name, value in found.items():
        for one in value if isinstance(value, list) else [value]:
            _set_parameter(read, name.lower(), str(one), None)
    return read


def _decoded(path: Path, data: bytes) -> str:
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelfileError(path, None, f"it is not text: {error.reason} at byte {error.start}") from error


def _instructions(path: Path, text: str) -> Iterator[Instruction]:
    """The instructions in order; text in three quotes may have many lines."""
    lines = iter(enumerate(text.replace("\r\n", "\n").split("\n"), start=1))
    for number, line in lines:
        word, *rest = line.split(None, 1) or [""]
        if not word or word.startswith("#"):
            continue
        told = rest[0] if rest else ""
        while told.count(_QUOTES) == 1:
            try:
                told += "\n" + next(lines)[1]
            except StopIteration:
                raise ModelfileError(path, number, f"the {_QUOTES} of {word.upper()} is never closed") from None
        if not told.strip():
            raise ModelfileError(path, number, f"{word.upper()} says nothing")
        yield Instruction(number, word.upper(), told)


def _take(read: Modelfile, one: Instruction) -> None:
    read.lines[one.word] = one.line
    match one.word:
        case "FROM":
            if read.source:
                raise read.error("FROM", "there are two FROMs: a model is made from one")
            read.source = _unquoted(read, one, one.text)
        case "TEMPLATE":
            read.template = _unquoted(read, one, one.text)
        case "SYSTEM":
            read.system = _unquoted(read, one, one.text)
        case "LICENSE":
            read.licence = "\n\n".join(filter(None, (read.licence, _unquoted(read, one, one.text))))
        case "MESSAGE":
            read.messages += (_message(read, one),)
        case "PARAMETER":
            _take_parameter(read, one)
        case word if word in _LEFT_OUT:
            read.notices.append(f"{read.path}: line {one.line}: {word} means nothing here and is left out")
        case word:
            raise read.error(word, _REFUSED.get(word) or _unknown(word))


def _unknown(word: str) -> str:
    known = ["FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "LICENSE", "MESSAGE"]
    near = get_close_matches(word, known, 1)
    return f"{word[:40]!r} is not an instruction" + (f"; did you mean {near[0]}?" if near else "")


def _message(read: Modelfile, one: Instruction) -> Message:
    role, *said = one.text.split(None, 1)
    if role.lower() not in ROLES or not said:
        raise read.error("MESSAGE", f"a message has a role ({', '.join(ROLES)}) and words, as in MESSAGE user Hello!")
    return Message(role.lower(), _unquoted(read, one, said[0]))


def _take_parameter(read: Modelfile, one: Instruction) -> None:
    name, *said = one.text.split(None, 1)
    if not said:
        raise read.error("PARAMETER", f"{name} has no value")
    _set_parameter(read, name.lower(), _unquoted(read, one, said[0]), one.line)


def _set_parameter(read: Modelfile, name: str, value: str, line: int | None) -> None:
    if line is not None:
        read.lines[_NUMBERS[name][0] if name in _NUMBERS else name] = line
    if name == "stop":
        stops = read.parameters.setdefault("stop", [])
        if isinstance(stops, list):
            stops.append(value)
    elif name in _NUMBERS:
        _take_number(read, name, value)
    elif name in _WITHOUT_EFFECT:
        where = f"{read.path}: line {line}" if line else str(read.path)
        read.notices.append(f"{where}: {name} has no effect here and is left out")
    else:
        near = get_close_matches(name, [*_NUMBERS, "stop"], 1)
        raise read.error("PARAMETER", f"{name!r} is not a parameter" + (f"; did you mean {near[0]}?" if near else ""))


def _take_number(read: Modelfile, name: str, value: str) -> None:
    ours, kind = _NUMBERS[name]
    try:
        number = kind(value)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise read.error(ours, f"{name} is {value[:40]!r}, not {what}") from None
    if name in ("num_predict", "seed") and number < 0:
        read.parameters.pop(ours, None)  # Ollama's way to say: no limit, and any seed
    else:
        read.parameters[ours] = number


def _unquoted(read: Modelfile, one: Instruction, text: str) -> str:
    """The text within its quotes, exactly; without quotes, less the blanks around it."""
    text = text.strip()
    if text.startswith(_QUOTES):
        inner, closing, rest = text.removeprefix(_QUOTES).partition(_QUOTES)
        if not closing or rest.strip():
            raise read.error(one.word, f"after the closing {_QUOTES} of {one.word} stands {rest.strip()[:40]!r}")
        return inner
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1]
    return text
