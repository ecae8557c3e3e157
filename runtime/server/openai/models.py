"""/v1/models: what is installed, and what is loaded from elsewhere."""

from collections.abc import Iterable
from functools import lru_cache

from ....registry.errors import RegistryError
from ....registry.files import ModelFiles
from ....registry.manifest import Manifest
from ....registry.shelf import Entry
from ...hosting.asking import Fault, Resident
from ...text.abilities import Abilities
from ...text.template_files import stored_templates
from ..catalogue import Catalogue
from ..endpoint import Refused
from .results import Model, Models

OWNER = "unillm"
_KNOWN = 256  # templates: models of a family share theirs


def models(catalogue: Catalogue, residents: Iterable[Resident]) -> Models:
    """The newest first; broken ones are not there to be used. What is loaded is listed even where no shelf has it."""
    found = {one.name: _model(one, one.manifest) for one in catalogue.entries() if one.manifest is not None}
    for resident in residents:
        if resident.name not in found:
            found[resident.name] = _elsewhere(catalogue, resident.name)
    return Models(data=sorted(found.values(), key=lambda model: (-model.created, model.id)))


def named(known: Models, name: str) -> Model:
    """One of them. Raises `Refused` where there is none."""
    for model in known.data:
        if name in (model.id, model.id.removesuffix(":latest")):
            return model
    raise Refused(
        Fault("not_found", f"no model named {name}", "see /v1/models for those that there are", field="model")
    )


def _model(entry: Entry, manifest: Manifest) -> Model:
    name, _, rest = entry.name.rpartition("/")
    owner = name.split("/")[-1] if name and rest else OWNER
    template = manifest.template or manifest.details.chat_template
    known = _template(entry.files()) if template is None else template
    return Model(id=entry.name, created=_changed(entry), owned_by=owner, capabilities=list(_capabilities(known)))


def _elsewhere(catalogue: Catalogue, name: str) -> Model:
    try:
        template = _template(catalogue.files(name))
    except RegistryError:  # removed meanwhile: it is loaded all the same
        template = None
    return Model(id=name, created=0, owned_by=OWNER, capabilities=list(_capabilities(template)))


def _template(files: ModelFiles) -> str | None:
    try:
        return stored_templates(files).get("default")
    except (RegistryError, OSError):
        return None


@lru_cache(_KNOWN)
def _capabilities(template: str | None) -> tuple[str, ...]:
    """As Ollama words them; and whether it can hold a conversation, which takes a template."""
    if template is None:
        return ("completion",)
    return ("completion", "chat", *Abilities.shown_by({"default": template}, "a model").names)


def _changed(entry: Entry) -> int:
    try:
        return int(entry.path.stat().st_mtime)
    except OSError:  # taken away meanwhile
        return 0
