"""The commands of the shell, a row each. What begins with a slash is one of them."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from . import library, setting
from .keyboard import QUOTES
from .modes import usual
from .talk import NotInShell, Talk

MODELS = "MODEL"  # among the words that may follow a command: any name of a model
_KEYS = (
    ("Ctrl-C", "stop the answer, or forget the line"),
    ("Ctrl-D", "leave, at an empty line"),
    ("Alt-Enter, Ctrl-J", "a new line"),
    ("Ctrl-G", "write in your editor"),
    ("Tab", "complete commands and names"),
    (f"{QUOTES}", "begin text of several lines, and end it"),
)


@dataclass(frozen=True, slots=True)
class Slash:
    """One command: what follows it, what it does in a line, its other names."""

    name: str
    takes: str
    summary: str
    act: Callable[[Talk, str], None]
    aliases: tuple[str, ...] = ()


def dispatch(talk: Talk, line: str) -> None:
    """Do what the line says. Raises `NotInShell` for a word that is no command."""
    name, *rest = line.split(None, 1)
    found = next((one for one in SLASHES if name in (one.name, *one.aliases)), None)
    if found is None:
        known = [word for one in SLASHES for word in (one.name, *one.aliases)]
        near = get_close_matches(name, known, 1)
        raise NotInShell(f"unknown command {name!r}", f"did you mean {near[0]}?" if near else "/? lists them")
    found.act(talk, rest[0].strip() if rest else "")


def is_command(text: str) -> bool:
    """A line that begins with a slash and a word. /usr/bin is a path, and several lines are text."""
    name = text.split(None, 1)[0] if text.strip() else ""
    one_line = "\n" not in text or QUOTES in text
    return text.startswith("/") and name.count("/") == 1 and len(name) > 1 and one_line


def words() -> Mapping[str, Sequence[str]]:
    """What may be completed, by what stands before it."""
    return {
        "": tuple(one.name for one in SLASHES),
        "/load": (MODELS,),
        "/show": tuple(_SHOWN),
        "/schema": ("off",),
        "/?": ("set", "show", "shortcuts"),
        **setting.words(),
    }


def _help(talk: Talk, text: str) -> None:
    topic = text.lstrip("/")
    if topic == "set":
        setting.set_(talk, "")
    elif topic == "show":
        talk.output.line("\n".join(f"  /show {name}" for name in _SHOWN))
    elif topic == "shortcuts":
        talk.output.entries(_KEYS)
    else:
        talk.output.entries([*((f"{one.name} {one.takes}", one.summary) for one in SLASHES), *_KEYS])


def _bye(talk: Talk, _text: str) -> None:
    talk.leaves = True


def _clear(talk: Talk, _text: str) -> None:
    talk.clear()
    talk.output.say("the conversation begins anew")


def _load(talk: Talk, text: str) -> None:
    if not text:
        raise NotInShell("/load takes the name of a model", "/models lists those that are here")
    talk.voice.load(text)
    talk.used = 0
    speaker = talk.speaker()
    if talk.conversation.think and not speaker.thinks:
        talk.conversation.think = None
        talk.output.note(f"{text} does not think before it speaks")
    begins = library.card(talk.session, speaker, talk.conversation.model).messages
    if begins and talk.conversation.messages:  # it would read what was said twice where it was made of that
        talk.clear()
        talk.output.note(f"{text} has {begins} messages of its own: the conversation begins anew with them")
    talk.output.say(f"{text} answers now")


def _save(talk: Talk, text: str) -> None:
    if not text:
        raise NotInShell("/save takes the name of the new model", "/save mine")
    library.save(talk.session, talk.speaker(), text, talk.conversation)
    talk.output.say(f"made {text}; /load {text} has it answer")


def _models(talk: Talk, text: str) -> None:
    found = [row for row in library.rows(talk.session, talk.voice.loaded) if row[0].startswith(text.lower())]
    talk.output.table(["NAME", "SIZE"], found)


def _retry(talk: Talk, _text: str) -> None:
    asked = talk.conversation.take_back()
    if asked is None:
        raise NotInShell("there is no question yet to ask again")
    talk.ask(asked)


def _edit(talk: Talk, _text: str) -> None:
    """Nothing is asked, and nothing changed, where the file is left as it was or empty."""
    said = [one["content"] for one in talk.conversation.messages if one["role"] == "user"]
    before = said[-1] if said else ""
    text = edited(before, talk.session.environ).strip("\n")
    if not text.strip() or text == before:
        talk.output.say("nothing was changed")
        return
    talk.conversation.take_back()
    talk.ask(text)


def edited(text: str, environ: Mapping[str, str]) -> str:
    """`text` as the user's editor leaves it. Raises `NotInShell` where there is none, or it fails."""
    named = environ.get("VISUAL") or environ.get("EDITOR") or next(filter(shutil.which, ("nano", "vi")), "")
    try:
        command = shlex.split(named)
    except ValueError as error:
        raise NotInShell(f"EDITOR is {named!r}: {error}") from error
    if not command:
        raise NotInShell("there is no editor here", "set EDITOR to one")
    handle, name = tempfile.mkstemp(prefix="unillm-", suffix=".md")
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        with usual(sys.stdin):
            code = subprocess.run([*command, name], check=False).returncode
        if code:
            raise NotInShell(f"{command[0]} failed; nothing was asked")
        return path.read_text("utf-8", "replace")
    except OSError as error:
        raise NotInShell(f"{command[0]}: {error.strerror or error}", "set EDITOR to an editor") from error
    finally:
        path.unlink(missing_ok=True)


def _tokens(talk: Talk, _text: str) -> None:
    speaker = talk.speaker()
    said = talk.conversation
    count = speaker.count(said.read) if said.read and speaker.converses else 0
    size = "more than" if count is None else f"{count:,} of"
    talk.output.line(f"the conversation has {size} {speaker.context:,} tokens of context")
    if said.first:
        talk.output.line(f"its {said.first} oldest messages are not read any more")
    if talk.last is not None:
        usage, speed = talk.last.usage, talk.last.timings.tokens_per_second
        cached = f" ({usage.cached_tokens} of them cached)" if usage.cached_tokens else ""
        answer = f"{usage.completion_tokens} tokens at {speed:.1f} tokens/s"
        talk.output.line(f"the last answer: {usage.prompt_tokens} tokens read{cached}, {answer}")


def _show(talk: Talk, text: str) -> None:
    if text not in _SHOWN:
        raise NotInShell(f"/show knows no {text!r}" if text else "/show takes a word", f"it knows {', '.join(_SHOWN)}")
    _SHOWN[text](talk)


def _card(talk: Talk) -> library.Card:
    speaker = talk.speaker()
    return library.card(talk.session, speaker, talk.conversation.model)


def _show_info(talk: Talk) -> None:
    for name, value in _card(talk).facts:
        if value:
            talk.output.line(f"  {name:<20}{value}")
    talk.output.line(f"  {'context here':<20}{talk.meter()}")


def _show_parameters(talk: Talk) -> None:
    own = _card(talk).parameters
    talk.output.line(f"of the model:\n{own}" if own else "the model states no parameters")
    for name, value in talk.conversation.parameters.items():
        talk.output.line(f"{name:<30}{value}   (set here)")


def _show_system(talk: Talk) -> None:
    talk.output.line(talk.conversation.system or _card(talk).system or "there is no system message")


_SHOWN: Mapping[str, Callable[[Talk], None]] = {
    "info": _show_info,
    "parameters": _show_parameters,
    "system": _show_system,
    "template": lambda talk: talk.output.line(_card(talk).template or "the model has no chat template"),
    "modelfile": lambda talk: talk.output.line(
        library.modelfile(talk.session, talk.speaker(), talk.conversation.model)
    ),
    "license": lambda talk: talk.output.line(_card(talk).licence or "the model states no licence"),
}

SLASHES = (
    Slash("/set", "WORD ...", "how answers are made and shown; alone it lists what can be set", setting.set_),
    Slash("/show", "WORD", f"tell of the model: {', '.join(_SHOWN)}", _show),
    Slash("/load", "MODEL", "have another model answer", _load),
    Slash("/save", "NAME", "make a model of this one, of what was set and of what was said", _save),
    Slash("/models", "PREFIX", "list what is installed", _models, ("/list",)),
    Slash("/system", "TEXT", "the system message; alone it shows it", setting.set_system),
    Slash("/schema", "FILE", "what answers must look like: a JSON schema, or off", setting.set_schema),
    Slash("/retry", "", "ask the last question again", _retry),
    Slash("/edit", "", "change the last question in your editor, and ask it", _edit),
    Slash("/tokens", "", "how much of the context the conversation takes", _tokens),
    Slash("/clear", "", "begin a new conversation", _clear),
    Slash("/bye", "", "leave", _bye, ("/exit", "/quit")),
    Slash("/?", "", "this help; /? set, /? show, /? shortcuts", _help, ("/help",)),
)
