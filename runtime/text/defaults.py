"""What a model's files say of how to sample from it, and of when its answer is over.

A value in the files is checked as one of a caller's would be. The user's own parameters, pinned with the model, come
before its maker's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from ...registry.files import ModelFiles
from ...registry.formats.json_file import read_json_object
from ..errors import InvalidParameter
from ..params import SamplingParams
from .ends import stated_ends
from .errors import SettingsFault, TemplateFault
from .template import ChatTemplate
from .tokenizer import Tokenizer

# The file's name for a parameter -> ours.
GENERATION_CONFIG = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "max_new_tokens": "max_tokens",
}
GGUF_KEYS = {
    "general.sampling.temp": "temperature",
    "general.sampling.top_k": "top_k",
    "general.sampling.top_p": "top_p",
    "general.sampling.min_p": "min_p",
    "general.sampling.penalty_repeat": "repetition_penalty",
}

_SAID = "zebra"  # what the assistant says in the conversation that is written down to see what follows


def generation_defaults(files: ModelFiles) -> dict[str, Any]:
    """Fields of `SamplingParams` with the values that this model wants where a caller has no wish."""
    defaults: dict[str, Any] = {}
    for source, found in _stated(files):
        for field, value in found.items():
            defaults[field] = _checked(field, value, source)
    return defaults


def end_token_ids(files: ModelFiles, tokenizer: Tokenizer | None, template: ChatTemplate | None) -> frozenset[int]:
    """Every token that ends an answer: those that the files name, and the one that ends the template's turns."""
    if tokenizer is None:
        return frozenset(stated_ends(files))
    turn = None if template is None else turn_end(tokenizer, template)
    return tokenizer.eos_ids | ({turn} if turn is not None else set())


def turn_end(tokenizer: Tokenizer, template: ChatTemplate) -> int | None:
    """The token that the template writes behind an assistant's words, if it is one."""
    talk = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": _SAID}]
    try:
        text = template.render(talk, add_generation_prompt=False, **tokenizer.special_tokens)
    except TemplateFault:
        return None  # not every template writes such a conversation; whoever has a real one will hear why
    _, said, behind = text.rpartition(_SAID)
    names = [name for name in tokenizer.added_tokens if said and behind.lstrip().startswith(name)]
    return tokenizer.added_tokens[max(names, key=len)] if names else None


def _stated(files: ModelFiles) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name of each source and what it says, in our words; the later ones count more."""
    if files.format == "gguf":
        yield files.weights[0].name, _translated(files.gguf.metadata, GGUF_KEYS)
    if "generation_config.json" in files.files:
        path = files.files["generation_config.json"]
        config = read_json_object(path)
        greedy = {"temperature": 0.0} if config.get("do_sample") is False else {}
        yield str(path), _translated(config, GENERATION_CONFIG) | greedy
    known = {field.name for field in fields(SamplingParams)}
    yield files.name, {name: value for name, value in files.parameters.items() if name in known}


def _translated(found: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {ours: found[theirs] for theirs, ours in names.items() if found.get(theirs) is not None}


def _checked(field: str, value: Any, source: str) -> Any:
    try:
        SamplingParams(**{field: value})
    except InvalidParameter as error:
        raise SettingsFault(source, field, f"is {value!r}; it must be {error.allowed}") from error
    return value
