"""`unillm pull`: fetch models, or say what that would mean."""

from typing import Any

from ...registry.aliases import Catalogue
from ...registry.amounts import bytes_text
from ...registry.plan import Plan
from ...registry.pull import plan as planned
from ...registry.pull import pull as pulled
from ...registry.settings import RegistrySettings
from ...registry.updates import is_updatable
from .. import options as of
from ..errors import UsageError
from ..installed import Installed, as_data
from ..pulling import PullReport
from ..session import Session


def pull(
    session: Session,
    models: of.PulledArgument = None,
    name: of.NameOption = None,
    all_: of.AllOption = False,
    dry_run: of.DryRunOption = False,
    offline: of.OfflineOption = None,
    limit_rate: of.LimitRateOption = None,
) -> None:
    """Fetch models and verify them.

    A model comes from the hub, into the cache that other tools share, or from another source where the hub is out of
    reach. A folder or a weight file is added where it lies, under its name or --name. What is here already is verified,
    what broke off goes on where it ended, and a model is listed when all of it is here. --all brings every installed
    model that comes from the hub to the version that is there now.

    \b
    Examples:
      unillm pull smollm2:135m qwen3:0.6b
      unillm pull hf.co/bartowski/Qwen_Qwen3-8B-GGUF:Q6_K
      unillm pull llama3:8b --dry-run
      unillm pull ./my-finetune --name mine:latest
      unillm pull --all --limit-rate 5M
    """
    if all_ == bool(models):
        raise UsageError("name the models to pull, or say --all and name none")
    if name is not None and (all_ or len(models or []) > 1):
        raise UsageError("--name gives one model a name, and there are several")
    installed = Installed.of(session, offline=offline, limit_rate=limit_rate)
    names = models or _updatable(installed)
    if not names:
        session.output.say("no model here comes from a place that could have a newer one")
    work = _foretell if dry_run else _fetch
    told: list[dict[str, Any]] = []
    try:
        told.extend(work(session, model, name, installed.settings) for model in names)
    finally:
        if session.json:
            session.output.data({"models": told})


def _updatable(installed: Installed) -> list[str]:
    """Every installed model that its source may have in a newer version."""
    catalogue = Catalogue.read(installed.settings.aliases)
    return [one.name for one in installed.shelf.entries() if is_updatable(one, catalogue)]


def _fetch(session: Session, model: str, name: str | None, settings: RegistrySettings) -> dict[str, Any]:
    with PullReport(session.output) as listener:
        return as_data(pulled(model, settings, listener, name=name))


def _foretell(session: Session, model: str, name: str | None, settings: RegistrySettings) -> dict[str, Any]:
    with PullReport(session.output) as listener:
        plan = planned(model, settings, listener, name=name)
    if not session.json:
        _tell(session, plan)
    return _plan_as_data(plan)


def _tell(session: Session, plan: Plan) -> None:
    out = session.output
    out.line(f"{plan.ref}: {plan.variant} from {plan.source}: {plan.origin}")
    out.line(f"because {plan.reason}")
    out.table(
        ["FILE", "SIZE", "HERE"], [[one.name, bytes_text(one.size), _here(one.have, one.size)] for one in plan.files]
    )
    out.line(
        f"{bytes_text(plan.missing)} of {bytes_text(plan.size)} to fetch; {bytes_text(plan.free)} free at {plan.folder}"
    )


def _here(have: int, size: int) -> str:
    return "yes" if have == size else f"{have * 100 // size} %" if have else "no"


def _plan_as_data(plan: Plan) -> dict[str, Any]:
    return {
        "name": str(plan.ref),
        "source": plan.source,
        "origin": str(plan.origin),
        "format": plan.format,
        "variant": plan.variant,
        "reason": plan.reason,
        "license": plan.licence,
        "gated": plan.gated,
        "size": plan.size,
        "missing": plan.missing,
        "free": plan.free,
        "folder": str(plan.folder),
        "files": [
            {"name": one.name, "size": one.size, "digest": str(one.digest), "have": one.have, "path": str(one.path)}
            for one in plan.files
        ],
    }
