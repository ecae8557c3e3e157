"""`unillm doctor`: what is fit for work here, what is not, and what to do about it."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from time import monotonic

from ...registry.errors import RegistryError
from ...registry.health import Finding, memory_findings, network_findings, store_findings
from ...runtime.health import end_probe, processor_findings, start_probe
from .. import options as of
from ..errors import FoundTrouble, SettingsError
from ..installed import Installed
from ..session import Session
from ..settings import config_file, stated

_LOOKING = 4.0  # seconds that torch has, while the rest is looked at
_COMPLETIONS = (
    "bash-completion/completions/unillm.bash",
    "zsh/site-functions/_unillm",
    "fish/vendor_completions.d/unillm.fish",
)


def doctor(session: Session, offline: of.OfflineOption = None) -> None:
    """Look at everything that unillm needs: devices, memory, kernels, the store, the network, settings.

    Each line says ok, warn (something is slow, or in the way) or fail (something is broken), and what to do next. It
    ends with 1 where something is broken. Nothing is changed.

    \b
    Examples:
      unillm doctor
      unillm doctor --offline --json
    """
    probe, began = start_probe(), monotonic()
    try:
        found = [*processor_findings(), *memory_findings(), *_settings(session, offline), *_completion()]
    finally:
        looked = end_probe(probe, max(0.5, began + _LOOKING - monotonic()))
    found = [*looked, *found]
    broken = [one.name for one in found if one.state == "fail"]
    if session.json:
        session.output.data({"healthy": not broken, "findings": [asdict(one) for one in found]})
    else:
        _tell(session, found)
    if broken:
        raise FoundTrouble(broken)


def _tell(session: Session, found: list[Finding]) -> None:
    for one in found:
        session.output.line(f"{one.state:<6}{one.name}: {one.told}")
        if one.next_step:
            session.output.line(f"{'':<6}  {one.next_step}")


def _settings(session: Session, offline: bool | None) -> Iterator[Finding]:
    """What the user has set, and then what depends on it."""
    try:
        settings = Installed.of(session, offline=offline).settings
        own = [f"{one.name} from {one.where}" for one in stated(session.environ) if one.where != "default"]
    except (SettingsError, RegistryError) as error:
        yield Finding(
            "settings", "fail", str(error), f"{error.hint or 'mend it'}; the file is {config_file(session.environ)}"
        )
        return
    yield Finding("settings", "ok", ", ".join(own) or "nothing is set: all defaults")
    yield from store_findings(settings)
    yield from network_findings(settings)


def _completion() -> Iterator[Finding]:
    """Whether the files that shells look for were installed."""
    share = Path(sys.prefix) / "share"
    if shutil.which("unillm") is None:
        yield Finding("command", "warn", "unillm is not on the PATH", f"add {Path(sys.executable).parent} to PATH")
    if any((share / one).is_file() for one in _COMPLETIONS):
        yield Finding("completions", "ok", f"under {share}")
    else:
        step = "reinstall unillm, or load one of completions/ from its repository"
        yield Finding("completions", "warn", f"none under {share}", step)
