"""/v1/models: what is installed, and what is loaded from elsewhere."""

from collections.abc import Iterable

from ....registry.shelf import Entry
from ...hosting.asking import Fault, Resident
from ..endpoint import Refused
from .results import Model, Models

OWNER = "unillm"


def models(entries: Iterable[Entry], residents: Iterable[Resident]) -> Models:
    """The newest first; broken ones are not there to be used. What is loaded is listed even where no shelf has it."""
    found = {entry.name: _model(entry) for entry in entries if entry.broken is None}
    for resident in residents:
        found.setdefault(resident.name, Model(id=resident.name, created=0, owned_by=OWNER))
    return Models(data=sorted(found.values(), key=lambda model: (-model.created, model.id)))


def named(known: Models, name: str) -> Model:
    """One of them. Raises `Refused` where there is none."""
    for model in known.data:
        if name in (model.id, model.id.removesuffix(":latest")):
            return model
    raise Refused(
        Fault("not_found", f"no model named {name}", "see /v1/models for those that there are", field="model")
    )


def _model(entry: Entry) -> Model:
    name, _, rest = entry.name.rpartition("/")
    return Model(id=entry.name, created=_changed(entry), owned_by=name.split("/")[-1] if name and rest else OWNER)


def _changed(entry: Entry) -> int:
    try:
        return int(entry.path.stat().st_mtime)
    except OSError:  # taken away meanwhile
        return 0
