"""How often each model's engine has ended unasked: one that does it all the time is left alone for a while."""

from time import monotonic

from .asking import Fault

_MOST = 3
_WITHIN = 60.0  # seconds


class Crashes:
    """Remembers the last minute."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def note(self, name: str) -> None:
        self._times.setdefault(name, []).append(monotonic())

    def looping(self) -> list[str]:
        """The models that have ended too often."""
        self._forget_old()
        return [name for name, times in self._times.items() if len(times) >= _MOST]

    def fault(self, name: str) -> Fault | None:
        """Why that model is not loaded again now; None where it may be."""
        if name not in self.looping():
            return None
        rest = max(self._times[name][-_MOST] + _WITHIN - monotonic(), 1.0)
        message = f"the engine of {name} has ended {_MOST} times within a minute"
        return Fault("unavailable", message, "see the server's log for why", retry_after=rest)

    def _forget_old(self) -> None:
        since = monotonic() - _WITHIN
        kept = {name: [when for when in times if when > since] for name, times in self._times.items()}
        self._times = {name: times for name, times in kept.items() if times}
