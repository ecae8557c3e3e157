"""Where the registry keeps its things and whom it may ask: read once, frozen, handed to whoever needs it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import platformdirs

from .amounts import read_rate
from .errors import SettingRefused

DEFAULT_ENDPOINT = "https://huggingface.co"
DEFAULT_OLLAMA_REGISTRY = "https://registry.ollama.ai"
_TRUE = {"1", "on", "yes", "true"}


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """What the registry may know of its surroundings.

    `cache_dir` is the Hugging Face cache, shared with other tools. `memory` is how many bytes a model may take here; at
    None the machine is measured when it matters. `patience` is how many seconds a hub has for its first answer, `waits`
    how many seconds pass between tries of a download that broke off.
    `ollama` is the store of an Ollama on this machine, which is only read; `ollama_registry` is where its models are
    pulled from. `limit_rate` is how many bytes a second all downloads of the process may take together.
    """

    home: Path
    aliases: Path
    cache_dir: Path
    endpoint: str = DEFAULT_ENDPOINT
    token: str | None = field(default=None, repr=False)
    offline: bool = False
    memory: int | None = None
    patience: float = 5.0
    waits: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    ollama: Path | None = None
    ollama_registry: str = DEFAULT_OLLAMA_REGISTRY
    limit_rate: int | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """UNILLM_HOME, _OFFLINE, _LIMIT_RATE, _OLLAMA_REGISTRY; HF_HOME, _ENDPOINT, _TOKEN, ...; OLLAMA_MODELS."""
        hub_home = _hub_home(environ)
        home = environ.get("UNILLM_HOME")
        cache = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
        return cls(
            home=_absolute(home) if home else platformdirs.user_data_path("unillm", appauthor=False),
            aliases=platformdirs.user_config_path("unillm", appauthor=False) / "aliases.toml",
            cache_dir=_absolute(cache) if cache else hub_home / "hub",
            endpoint=_endpoint("HF_ENDPOINT", environ, DEFAULT_ENDPOINT),
            token=_token(environ, hub_home),
            offline=any(environ.get(name, "").lower() in _TRUE for name in ("HF_HUB_OFFLINE", "UNILLM_OFFLINE")),
            ollama=_absolute(environ.get("OLLAMA_MODELS") or "~/.ollama/models"),
            ollama_registry=_endpoint("UNILLM_OLLAMA_REGISTRY", environ, DEFAULT_OLLAMA_REGISTRY),
            limit_rate=_rate(environ.get("UNILLM_LIMIT_RATE")),
        )


def _hub_home(environ: Mapping[str, str]) -> Path:
    if home := environ.get("HF_HOME"):
        return _absolute(home)
    return _absolute(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"


def _absolute(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser().absolute()


def _endpoint(variable: str, environ: Mapping[str, str], default: str) -> str:
    text = environ.get(variable) or default
    if not text.startswith(("https://", "http://")):
        raise SettingRefused(variable, text, "it must begin with https:// or http://")
    return text.rstrip("/")


def _rate(text: str | None) -> int | None:
    try:
        return read_rate(text) if text else None
    except ValueError as error:
        raise SettingRefused("UNILLM_LIMIT_RATE", text or "", str(error)) from error


def _token(environ: Mapping[str, str], hub_home: Path) -> str | None:
    """HF_TOKEN, else what `hf auth login` has left."""
    if given := environ.get("HF_TOKEN") or environ.get("HUGGING_FACE_HUB_TOKEN"):
        return given.strip() or None
    kept = environ.get("HF_TOKEN_PATH")
    try:
        return (_absolute(kept) if kept else hub_home / "token").read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
