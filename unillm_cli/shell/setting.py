"""`/set`: how answers are made and shown. The names are those that Ollama's users know, and ours."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from ...registry.modelfile import translate_parameters
from ...runtime.params import SamplingParams
from ..forms import read_schema
from ..options import Effort
from ..speaking import check_thinking
from .keyboard import unquoted
from .talk import NotInShell, Talk

PARAMETERS = (
    *("num_predict", "num_ctx", "temperature", "top_k", "top_p", "min_p", "typical_p", "seed", "stop"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty"),
)
_SET = Path("/set parameter")  # what errors name


@dataclass(frozen=True, slots=True)
class Wish:
    """A row of `/set`: what follows it, what it does in a line, and how it is done."""

    name: str
    takes: str
    summary: str
    act: Callable[[Talk, str], None]


def set_(talk: Talk, rest: str) -> None:
    """Without a word after it, list what can be set."""
    name, _, value = rest.strip().partition(" ")
    if not name:
        talk.output.entries((f"/set {one.name} {one.takes}", one.summary) for one in WISHES)
        return
    wish = next((one for one in WISHES if one.name == name), None)
    if wish is None:
        raise NotInShell(f"/set knows no {name!r}", _meant(name, value))
    wish.act(talk, value.strip())


def _meant(name: str, value: str) -> str:
    """What somebody who typed `name` after /set wanted."""
    near = get_close_matches(name, (*PARAMETERS, *(one.name for one in WISHES)), 1)
    if not near:
        return "/set lists what it knows"
    return f"did you mean /set {'parameter ' if near[0] in PARAMETERS else ''}{f'{near[0]} {value}'.strip()}?"


def set_system(talk: Talk, text: str) -> None:
    """Without text, show it; with empty quotes, have none."""
    if not text:
        talk.output.line(talk.conversation.system or "no system message is set")
        return
    talk.conversation.system = unquoted(text) or None
    talk.output.say("the system message is set" if talk.conversation.system else "there is no system message any more")
    talk.keep()


def set_schema(talk: Talk, text: str) -> None:
    """A file, or JSON; `off` takes it away. Without text, show it. One that no answer can follow is refused at once."""
    if not text:
        held = talk.conversation.schema
        talk.output.line("no schema is set" if held is None else json.dumps(held, ensure_ascii=False))
        return
    if text == "off":
        talk.conversation.schema = None
    else:
        schema = read_schema("/schema", text)
        talk.speaker().check(SamplingParams(schema=schema))
        talk.conversation.schema = json.loads(schema)
    talk.keep()
    talk.output.say("answers have any form again" if text == "off" else "answers follow this schema from now on")


def _set_think(talk: Talk, text: str) -> None:
    wanted = next((effort for effort in get_args(Effort) if effort == text), True)
    if text and wanted is True:
        raise NotInShell(f"there is no effort {text!r}", f"it may be {', '.join(get_args(Effort))}")
    check_thinking(talk.speaker(), wanted)
    talk.conversation.think = wanted
    talk.output.say(f"it thinks first from now on{f', effort {text}' if text else ''}")


def _set_nothink(talk: Talk, _text: str) -> None:
    talk.conversation.think = False
    talk.output.say("it answers without thinking from now on, where the model can be told so")


def _set_parameter(talk: Talk, text: str) -> None:
    name, *values = text.split()
    if not values:
        raise NotInShell("a parameter has a name and a value", "/set parameter temperature 0.7")
    read = translate_parameters(_SET, {name: [unquoted(one) for one in values] if name == "stop" else " ".join(values)})
    for notice in read.notices:
        talk.output.note(notice)
    found: dict[str, Any] = dict(read.parameters)
    if name == "num_predict" and not found:
        talk.conversation.parameters.pop("max_tokens", None)
    SamplingParams(**{key: value for key, value in found.items() if key != "context"})  # refused now, not when asked
    context = found.get("context")
    if isinstance(context, int):
        _set_context(talk, context)
    talk.conversation.parameters |= found
    talk.output.say(f"{name} is {' '.join(values)}")


def _set_context(talk: Talk, context: int) -> None:
    if context < 1:
        raise NotInShell("num_ctx is a whole number above 0")
    before, used = talk.voice.context, talk.used
    talk.voice.context, talk.used = context, 0
    talk.voice.close()
    try:
        talk.speaker()
    except BaseException:
        talk.voice.context, talk.used = before, used
        raise


def _switch(name: str, value: bool, told: str) -> Callable[[Talk, str], None]:
    def act(talk: Talk, _text: str) -> None:
        setattr(talk, name, value)
        talk.output.say(told)

    return act


def _set_format(talk: Talk, text: str) -> None:
    if text != "json":
        raise NotInShell(f"there is no format {text!r}", "/set format json; /schema FILE says which")
    talk.conversation.schema = {"type": "object"}
    talk.output.say("answers are JSON from now on")


_MARKDOWN = _switch("markdown", True, "Markdown is rendered")
_NO_MARKDOWN = _switch("markdown", False, "answers are shown as they are")

WISHES = (
    Wish("parameter", "NAME VALUE", f"{', '.join(PARAMETERS[:4])} ...", _set_parameter),
    Wish("system", "TEXT", "the system message", set_system),
    Wish("format", "json", "answers are JSON", _set_format),
    Wish("noformat", "", "answers have any form", lambda talk, _text: set_schema(talk, "off")),
    Wish("think", "EFFORT", f"have it think first: {', '.join(get_args(Effort))}, or as it likes", _set_think),
    Wish("nothink", "", "have it answer at once", _set_nothink),
    Wish("thoughts", "", "show what it thinks", _switch("hides_thoughts", False, "thoughts are shown")),
    Wish("nothoughts", "", "do not", _switch("hides_thoughts", True, "thoughts are not shown")),
    Wish("verbose", "", "tell how long each answer took", _switch("verbose", True, "times are told")),
    Wish("quiet", "", "do not", _switch("verbose", False, "times are not told")),
    Wish("markdown", "", "render Markdown, where the terminal can", _MARKDOWN),
    Wish("nomarkdown", "", "show answers as they are", _NO_MARKDOWN),
    Wish("wordwrap", "", "the same as markdown", _MARKDOWN),
    Wish("nowordwrap", "", "the same as nomarkdown", _NO_MARKDOWN),
    Wish("history", "", "keep what is typed for the arrow keys", _switch("remembers", True, "typed lines are kept")),
    Wish("nohistory", "", "do not", _switch("remembers", False, "typed lines are not kept")),
)


def words() -> Mapping[str, tuple[str, ...]]:
    """What may be completed after `/set`."""
    return {
        "/set": tuple(one.name for one in WISHES),
        "/set parameter": PARAMETERS,
        "/set format": ("json",),
        "/set think": get_args(Effort),
    }
