"""Ollama's `options`: which of them mean something here, and which are taken and left alone.

An option of the wrong type is refused by its name, also where it has no effect. An option that nobody knows is left
alone, as Ollama does: its clients send what they like.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..asked import Names
from ..endpoint import Refused, invalid

# What Ollama samples with where the model says nothing of it.
USUAL: Mapping[str, Any] = {"temperature": 0.8, "top_k": 40, "top_p": 0.9}
NO_LIMIT = 2**31 - 1  # tokens: the context ends every answer sooner

_SAMPLING = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "repeat_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "seed": "seed",
    "num_predict": "max_tokens",
    "stop": "stop",
}
NAMES: Names = {ours: f"options.{theirs}" for theirs, ours in _SAMPLING.items()} | {
    "context": "options.num_ctx",
    "schema": "format",
}


def _is_whole(value: object) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_texts(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))


_KINDS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(("num_ctx", "num_predict", "seed", "top_k", "num_keep", "repeat_last_n"), (_is_whole, "integer")),
    **dict.fromkeys(("temperature", "top_p", "min_p", "typical_p", "repeat_penalty"), (_is_number, "float32")),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), (_is_number, "float32")),
    **dict.fromkeys(("num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict"), (_is_whole, "integer")),
    "use_mmap": (lambda value: isinstance(value, bool), "boolean"),
    "stop": (_is_texts, "array"),
}
# Of the known ones these have no effect: they steer another engine, or a window that the penalties here do not have.
WITHOUT_EFFECT = frozenset(
    {"num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict", "use_mmap", "repeat_last_n"}
)


@dataclass(frozen=True, slots=True)
class Options:
    """What `options` ask for: fields of `SamplingParams`, and how long the context shall be."""

    sampling: Mapping[str, Any]
    context: int | None


def read_options(given: Mapping[str, Any] | None) -> Options:
    """The options that have an effect, under our names. Raises `Refused`."""
    known = {name: value for name, value in (given or {}).items() if name in _KINDS and value is not None}
    for name, value in known.items():
        fits, kind = _KINDS[name]
        if not fits(value):
            raise wrong_type(name, kind)
    sampling = {_SAMPLING[name]: _number(name, value) for name, value in known.items() if name in _SAMPLING}
    if sampling.get("max_tokens", 0) < 0:
        sampling["max_tokens"] = NO_LIMIT
    if sampling.get("seed", 0) < 0:
        del sampling["seed"]
    if known.get("repeat_last_n") == 0:  # a window of no tokens: nothing is penalised
        sampling["repetition_penalty"] = 1.0
    return Options(sampling, _context(known.get("num_ctx")))


def wrong_type(name: str, kind: str) -> Refused:
    return invalid(f"options.{name}", f'option "{name}" must be of type {kind}')


def _number(name: str, value: Any) -> Any:
    whole = _KINDS[name][1] == "integer"
    if not whole:
        return value
    if not -(2**63) <= value < 2**63:
        raise wrong_type(name, "integer")
    return int(value)


def _context(value: Any) -> int | None:
    if value is None:
        return None
    if not 1 <= value < 2**31:
        raise invalid("options.num_ctx", f"options.num_ctx is {value}; it must be 1 or more")
    return int(value)
