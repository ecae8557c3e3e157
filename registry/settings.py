"""Where the registry keeps its things and whom it may ask: read once, frozen, handed to whoever needs it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import platformdirs

from .errors import SettingRefused

DEFAULT_ENDPOINT = "https://huggingface.co"
_TRUE = {"1", "on", "yes", "true"}


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """What the registry may know of its surroundings.

    `cache_dir` is the Hugging Face cache, shared with other tools. `memory` is how many bytes a model may take here; at
    None the machine is measured when it matters. `patience` is how many seconds a hub has for its first answer, `waits`
    how many seconds pass between tries of a download that broke off.
    `ollama` is the store of an Ollama on this machine, which is only read.
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

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """UNILLM_HOME, UNILLM_OFFLINE, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, OLLAMA_MODELS."""
        hub_home = _hub_home(environ)
        home = environ.get("UNILLM_HOME")
        cache = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
        return cls(
            home=_absolute(home) if home else platformdirs.user_data_path("unillm", appauthor=False),
            aliases=platformdirs.user_config_path("unillm", appauthor=False) / "aliases.toml",
            cache_dir=_absolute(cache) if cache else hub_home / "hub",
            endpoint=_endpoint(environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT),
            token=_token(environ, hub_home),
            offline=any(environ.get(name, "").lower() in _TRUE for name in ("HF_HUB_OFFLINE", "UNILLM_OFFLINE")),
            ollama=_absolute(environ.get("OLLAMA_MODELS") or "~/.ollama/models"),
        )


def _hub_home(environ: Mapping[str, str]) -> Path:
    if home := environ.get("HF_HOME"):
        return _absolute(home)
    return _absolute(environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"


def _absolute(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser().absolute()


def _endpoint(text: str) -> str:
    if not text.startswith(("https://", "http://")):
        raise SettingRefused("HF_ENDPOINT", text, "it must begin with https:// or http://")
    return text.rstrip("/")


def _token(environ: Mapping[str, str], hub_home: Path) -> str | None:
    """HF_TOKEN, else what `hf auth login` has left."""
    if given := environ.get("HF_TOKEN") or environ.get("HUGGING_FACE_HUB_TOKEN"):
        return given.strip() or None
    kept = environ.get("HF_TOKEN_PATH")
    try:
        return (_absolute(kept) if kept else hub_home / "token").read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
