"""What a server's host may be told, and what serves when nobody says anything."""

from dataclasses import dataclass, field
from typing import Any

FIVE_MINUTES = 300.0
SEQUENCES = 128  # what an engine computes at once unless told otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """`keep_alive` is how many seconds an idle model stays, negative for ever. Beyond those that run, `max_queue`
    requests may wait for a model. `memory` in bytes bounds all models together: what this machine has for models unless
    said. `engine` holds fields of `EngineOptions` for every model. A model that had work and finished no step for
    `stalled_after` seconds counts as stalled.
    """

    keep_alive: float = FIVE_MINUTES
    max_queue: int = 512
    memory: int | None = None
    text_workers: int = 1
    engine: dict[str, Any] = field(default_factory=dict)
    stalled_after: float = 60.0
    load_timeout: float = 300.0

    @property
    def running(self) -> int:
        """How many requests of one model are computed at once."""
        return int(self.engine.get("sequences", SEQUENCES))
