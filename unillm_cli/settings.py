"""What a user has set: flags > environment > config.toml > default, read once into one frozen object.

The table `KEYS` is the only list of settings; the manual is written from it. A setting that another floor reads by its
environment variable (the registry does) finds it in `Settings.environment`, wherever it was set.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args

import platformdirs

from ..registry.amounts import read_rate
from ..runtime.attention import AUTO, read_backends
from ..runtime.errors import InvalidParameter
from ..runtime.faults import read_faults
from .errors import SettingsError

PrefixCache: TypeAlias = Literal["radix", "hash", "off"]
KVDtype: TypeAlias = Literal["auto", "fp32", "fp16", "bf16", "int8", "fp8"]


def _text(value: str) -> str:
    return value


def _whole(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) == 0:
        raise ValueError(f"{value!r} is not a whole number above 0")
    return int(value)


def _switch(value: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if value.lower() not in words:
        raise ValueError(f"{value!r} is neither true nor false")
    return words[value.lower()]


def _faults(value: str) -> str:
    try:
        read_faults(value)
    except InvalidParameter as error:
        raise ValueError(str(error)) from error
    return value


def _backends(value: str) -> str:
    try:
        read_backends(value)
    except InvalidParameter as error:
        raise ValueError(str(error)) from error
    return value


def _sharing(value: str) -> str:
    if value not in get_args(PrefixCache):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(PrefixCache))}")
    return value


def _kept_in(value: str) -> str:
    if value not in get_args(KVDtype):
        raise ValueError(f"{value!r} is none of {', '.join(get_args(KVDtype))}")
    return value


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its environment variable, how its text is read, and what it is for."""

    variable: str
    parse: Callable[[str], Any]
    purpose: str


KEYS: Mapping[str, Key] = {
    "model": Key("UNILLM_MODEL", _text, "the model that is used when none is named"),
    "device": Key("UNILLM_DEVICE", _text, "where models run: auto, cpu, cuda, cuda:1, mps"),
    "dtype": Key("UNILLM_DTYPE", _text, "what models compute in: auto, float32, float16, bfloat16"),
    "exact": Key("UNILLM_EXACT", _switch, "multiply quantised weights with activations that are not rounded"),
    "quantize": Key("UNILLM_QUANTIZE", _text, "how plain weights are packed as they load: q8_0, q4_0, q4_k, int8"),
    "draft": Key("UNILLM_DRAFT", _text, "what guesses ahead, for speed alone: a model's name, ngram, off"),
    "context": Key("UNILLM_CONTEXT", _whole, "the longest prompt and answer together, in tokens"),
    "kv_dtype": Key("UNILLM_KV_DTYPE", _kept_in, "what keys and values are kept in: auto, fp32, fp16, bf16, int8, fp8"),
    "prefix_cache": Key("UNILLM_PREFIX_CACHE", _sharing, "how prompts share what they begin with: radix, hash, off"),
    "attention_backend": Key("UNILLM_ATTENTION_BACKEND", _backends, "what attends, for prompts and for single tokens"),
    "max_batch_tokens": Key("UNILLM_MAX_BATCH_TOKENS", _whole, "the most tokens that are computed at once"),
    "max_running": Key("UNILLM_MAX_RUNNING", _whole, "the most requests that are answered at once"),
    "limit_rate": Key("UNILLM_LIMIT_RATE", read_rate, "the most bytes a second that downloads take, as in 5M"),
    "faults": Key("UNILLM_FAULTS", _faults, "for debugging, what is made to go wrong: forward=memory,after=20"),
    "home": Key("UNILLM_HOME", _text, "the folder of installed models"),
    "state": Key("UNILLM_STATE", _text, "the folder of conversations, and of what was typed in the shell"),
    "offline": Key("UNILLM_OFFLINE", _switch, "never ask the network"),
}


@dataclass(frozen=True, slots=True)
class _Given:
    """A setting's text, and where it was given."""

    text: str
    where: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting, and the environment as the floors below shall see it. A field at None is theirs to choose."""

    model: str | None
    device: str
    dtype: str
    exact: bool
    quantize: str | None
    draft: str
    context: int | None
    kv_dtype: KVDtype
    prefix_cache: PrefixCache
    attention_backend: str
    max_batch_tokens: int | None
    max_running: int | None
    limit_rate: int | None
    faults: str | None
    home: str | None
    state: str | None
    offline: bool
    environment: Mapping[str, str]

    @classmethod
    def read(cls, environ: Mapping[str, str], **flags: object) -> Self:
        """The settings in force. Of `flags`, those that are None were not given."""
        given = _given(environ) | _from_flags(flags)
        environment = dict(environ) | {KEYS[name].variable: one.text for name, one in given.items()}
        values: dict[str, Any] = {"model": None, "device": "auto", "dtype": "auto", "exact": False, "draft": "ngram"}
        values |= {"quantize": None, "context": None, "home": None, "state": None, "offline": False, "limit_rate": None}
        values |= {
            "kv_dtype": "auto",
            "prefix_cache": "radix",
            "attention_backend": AUTO,
            "faults": None,
            "max_batch_tokens": None,
            "max_running": None,
        }
        values |= {name: _parsed(KEYS[name], one) for name, one in given.items()}
        return cls(**values, environment=environment)


@dataclass(frozen=True, slots=True)
class Stated:
    """One setting as it is in force, and where it was set."""

    name: str
    value: object
    where: str


def stated(environ: Mapping[str, str]) -> list[Stated]:
    """Every setting without flags. `where` is an environment variable, a file and its key, or `default`."""
    settings, given = Settings.read(environ), _given(environ)
    return [Stated(name, getattr(settings, name), given[name].where if name in given else "default") for name in KEYS]


def config_file(environ: Mapping[str, str]) -> Path:
    """Where config.toml lies: UNILLM_CONFIG, else the platform's configuration folder."""
    if named := environ.get("UNILLM_CONFIG"):
        return Path(named)
    return platformdirs.user_config_path("unillm", appauthor=False) / "config.toml"


def _given(environ: Mapping[str, str]) -> dict[str, _Given]:
    return _from_file(config_file(environ)) | _from_environment(environ)


def _from_flags(flags: Mapping[str, object]) -> dict[str, _Given]:
    return {
        name: _Given(_spelled(value), f"--{name.replace('_', '-')}")
        for name, value in flags.items()
        if value is not None
    }


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    """An empty variable is as good as none."""
    return {name: _Given(text, key.variable) for name, key in KEYS.items() if (text := environ.get(key.variable))}


def _from_file(path: Path) -> dict[str, _Given]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(str(path), error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), f"not TOML: {error}") from error
    return {name: _checked(path, name, value) for name, value in table.items()}


def _checked(path: Path, name: str, value: object) -> _Given:
    if name not in KEYS:
        raise SettingsError(str(path), f"unknown key {name!r}", f"known keys: {', '.join(KEYS)}")
    if not isinstance(value, str | int):
        raise SettingsError(f"{path}: {name}", f"{value!r} is neither text, nor a whole number, nor true or false")
    return _Given(_spelled(value), f"{path}: {name}")


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parsed(key: Key, given: _Given) -> Any:
    try:
        return key.parse(given.text)
    except ValueError as error:
        raise SettingsError(given.where, str(error)) from error
