"""Where a model's files hold its chat templates.

Of the places, in order: files of their own (`chat_template.jinja`, `additional_chat_templates/NAME.jinja`), a GGUF's
keys, `chat_template.json`, and `tokenizer_config.json`, where there may be a list of named ones.
"""

from collections.abc import Mapping
from pathlib import Path

from ...registry.errors import FormatError
from ...registry.files import ModelFiles
from ...registry.formats.json_file import read_json_object
from ...registry.formats.reader import BoundedReader

MAX_FILE = 1_000_000  # bytes

_KEY = "tokenizer.chat_template"
_MORE = "additional_chat_templates/"


def stored_templates(files: ModelFiles) -> dict[str, str]:
    """Every template by its name, the usual one as "default"; empty where there is none."""
    found = _own_files(files.files)
    if not found and files.format == "gguf":
        found = _keys(files)
    for name in ("chat_template.json", "tokenizer_config.json"):
        if not found and name in files.files:
            found = _named(read_json_object(files.files[name]).get("chat_template"))
    return found


def templates_of(files: ModelFiles) -> dict[str, str]:
    """The same, but where somebody gave the model another template, that alone."""
    return {"default": files.template} if files.template is not None else stored_templates(files)


def _own_files(files: Mapping[str, Path]) -> dict[str, str]:
    if "chat_template.jinja" not in files:
        return {}
    more = {name: name.removeprefix(_MORE) for name in files if name.startswith(_MORE) and name.endswith(".jinja")}
    named = {short.removesuffix(".jinja"): _text(files[name]) for name, short in more.items()}
    return {"default": _text(files["chat_template.jinja"]), **named}


def _text(path: Path) -> str:
    with BoundedReader(path) as reader:
        if reader.size > MAX_FILE:
            raise reader.error("file", f"has {reader.size} bytes, more than {MAX_FILE}", 0)
        raw = reader.take(reader.size, "file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(path, "file", "is not text in UTF-8", error.start) from error


def _keys(files: ModelFiles) -> dict[str, str]:
    keys = files.gguf.metadata
    found = {name.removeprefix(f"{_KEY}."): text for name, text in keys.items() if name.startswith(f"{_KEY}.")}
    return {name: text for name, text in {**found, "default": keys.get(_KEY)}.items() if isinstance(text, str)}


def _named(stored: object) -> dict[str, str]:
    """One template, or several in a list of names and templates."""
    if isinstance(stored, str):
        return {"default": stored}
    entries = [entry for entry in stored if isinstance(entry, dict)] if isinstance(stored, list) else []
    found = {entry.get("name"): entry.get("template") for entry in entries}
    return {name: text for name, text in found.items() if isinstance(name, str) and isinstance(text, str)}
