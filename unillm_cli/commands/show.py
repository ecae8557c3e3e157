"""`unillm show`: what a model is, where it lies, which variant of it was chosen and why."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

from ...models.borrowed.names import EXTRA, NAMES, is_here
from ...models.table import architectures as known_architectures
from ...models.table import is_known
from ...registry.aliases import Catalogue
from ...registry.amounts import bytes_text, count_text
from ...registry.errors import RegistryError
from ...registry.files import ModelFiles
from ...registry.finding import find_installed, not_installed
from ...registry.manifest import Details
from ...registry.names import Kind, ModelRef
from ...registry.offers import HubOffer, Offer, PackageOffer, RegistryOffer, offers_here
from ...registry.rows import Row
from ...registry.settings import RegistrySettings
from ...registry.shelf import Entry
from .. import options as of
from ..errors import UsageError
from ..installed import Installed, as_data, files_as_data
from ..session import Session

_GRID_BITS = 8 * 138 / 256  # of a kind whose points are put together as they are loaded: runtime/weights/grids.py


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to tell of a model: for people, and as data."""

    title: str
    facts: Sequence[tuple[str, str | None]]
    files: Sequence[dict[str, Any]]
    data: dict[str, Any]
    template: str | None = None
    fault: RegistryError | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What may be printed alone, one of them."""

    template: of.TemplateOption = False
    modelfile: of.ModelfileTextOption = False
    parameters: of.ParametersOption = False
    system: of.SystemTextOption = False
    license: of.LicenceOption = False

    @property
    def wanted(self) -> str | None:
        asked = [one.name for one in fields(self) if getattr(self, one.name)]
        if len(asked) > 1:
            raise UsageError(f"{' and '.join(f'--{name}' for name in asked)} exclude each other")
        return asked[0] if asked else None


def show(
    session: Session,
    model: of.OptionalModelArgument = None,
    architectures: of.ArchitecturesOption = False,
    *,
    parts: Parts,
) -> None:
    """Tell what a model is, where its files lie, and which variant it is and why.

    Of a model that is not here it tells what the catalogue knows, and which variant this machine would get. Rows of
    your own go into aliases.toml, in unillm's configuration folder. A file that is broken or not whole is an error.

    \b
    Examples:
      unillm show smollm2:135m
      unillm show llama3:8b --json
      unillm show ./my-finetune
      unillm show --architectures
    """
    part = parts.wanted
    if architectures == (model is not None) or (architectures and part):
        raise UsageError("name a model to show, or say --architectures")
    if model is None:
        _tell_architectures(session)
        return
    if part is not None:
        text = find_part(Installed.of(session).settings, model, part)
        if session.json:
            session.output.data({part: text})
        else:
            session.output.answer(text)
        return
    shown = find_shown(Installed.of(session), model)
    if session.json:
        session.output.data(shown.data)
    else:
        _tell(session, shown)
    if shown.fault:
        raise shown.fault


def find_part(settings: RegistrySettings, model: str, part: str) -> str:
    """The template, modelfile, parameters, system or license of what Ollama's clients are shown."""
    from ...runtime.server.catalogue import Catalogue as Served  # late: it brings what reads templates
    from ...runtime.server.ollama.describing import show as described

    served = {model: model} if ModelRef.parse(model).is_path else {}
    text: str = getattr(described(Served(settings, served), model, verbose=False), part)
    return text


def _tell_architectures(session: Session) -> None:
    """What unillm computes, by the names that files have for it."""
    rows = known_architectures()
    if session.json:
        listed = [
            {
                "name": one.name,
                "family": one.family,
                "formats": list(one.formats),
                "models": one.known.title,
                "cache": one.known.cache,
                "reference": one.known.reference,
                "lacking": one.known.lacking,
            }
            for one in rows
        ]
        session.output.data({"architectures": listed, "by_transformers": {"here": is_here(), "names": sorted(NAMES)}})
        return
    head = ["ARCHITECTURE", "FAMILY", "FORMATS", "CACHE", "HELD TO"]
    shown = [[one.name, one.family, ", ".join(one.formats), one.known.cache, one.known.reference] for one in rows]
    session.output.table(head, shown)
    how = "computes" if is_here() else f"would compute, with {EXTRA},"
    session.output.note(f"transformers {how} {len(NAMES)} more; man unillm-models names them")


def find_shown(installed: Installed, model: str) -> Shown:
    """A path in place, an installed model, or a row of the catalogue."""
    ref = ModelRef.parse(model)
    if ref.is_path or ref.kind is Kind.OLLAMA:
        return _in_place(installed, model)
    if entry := find_installed(ref, installed.shelf, installed.settings):
        return _of_entry(entry)
    catalogue = Catalogue.read(installed.settings.aliases)
    match = catalogue.find(ref)
    if match is None:
        raise not_installed(model, installed.shelf, installed.settings)
    return _of_row(str(catalogue.canonical(ref)), match.row, offers_here(ref, catalogue, installed.settings))


def _tell(session: Session, shown: Shown) -> None:
    session.output.line(shown.title)
    for name, value in shown.facts:
        if value:
            session.output.line(f"  {name:<14}{value}")
    if shown.files:
        rows = [[one["name"], bytes_text(one["size"]), one.get("digest", "-"), one["path"]] for one in shown.files]
        session.output.line("")
        session.output.table(["FILE", "SIZE", "DIGEST", "PATH"], rows)


def _of_entry(entry: Entry) -> Shown:
    manifest = entry.sound
    data, files = as_data(entry), files_as_data(entry)
    template = manifest.template or manifest.details.chat_template
    can = _capabilities(entry.files())
    own = {
        "template": template,
        "parameters": dict(manifest.parameters),
        "system": manifest.system,
        "messages": [{"role": one.role, "content": one.content} for one in manifest.messages],
        "license_text": manifest.terms,
        "capabilities": can,
    }
    facts = [
        ("id", manifest.id[:12]),
        *_details(manifest.details),
        ("size", bytes_text(manifest.size)),
        ("licence", manifest.licence),
        ("source", str(manifest.origin)),
        ("variant", f"{manifest.variant}: {manifest.reason}"),
        ("template", _template_text(template)),
        ("capabilities", ", ".join(can)),
        *((name, str(value)) for name, value in manifest.parameters.items()),
        ("system", manifest.system),
        *(("message", f"{one.role}: {one.content}") for one in manifest.messages),
        ("modified", data["modified_at"]),
    ]
    return Shown(entry.name, facts, files, {**data, **own, "files": files}, template, _fault(entry))


def _fault(entry: Entry) -> RegistryError | None:
    """What is wrong with its files, as far as that shows without reading them."""
    try:
        entry.check()
    except RegistryError as error:
        return error
    return None


def _in_place(installed: Installed, model: str) -> Shown:
    """Files of the user's own: read now, for nobody has described them. What reads them is imported now too."""
    from ...registry.describe import read_details
    from ...registry.locate import locate

    found = locate(model, installed.settings)
    details = read_details(found)
    template = found.template or details.chat_template
    can = _capabilities(found)
    files = [
        {"name": name, "size": path.stat().st_size, "weights": path in found.weights, "path": str(path)}
        for name, path in found.files.items()
    ]
    data = {
        "name": found.name,
        "details": {"format": found.format, "family": details.architecture, "quantization_level": details.quantisation},
        "context_length": details.context,
        "parameter_count": details.parameters,
        "template": template,
        "parameters": dict(found.parameters),
        "system": found.system,
        "capabilities": can,
        "files": files,
    }
    facts = [
        ("format", found.format),
        *_details(details),
        ("template", _template_text(template)),
        ("capabilities", ", ".join(can)),
        *((name, str(value)) for name, value in found.parameters.items()),
        ("system", found.system),
    ]
    return Shown(found.name, facts, files, data, template)


def _of_row(name: str, row: Row, places: list[Offer]) -> Shown:
    """A model that is not here: what it would be on this machine."""
    first = places[0]
    chosen, where = _chosen(first)
    packages = [one for source in row.sources for one in source.packages]
    facts = [
        ("architecture", _judged(row.architecture)),
        ("parameters", count_text(row.parameters) if row.parameters else None),
        ("licence", row.licence),
        ("original", _place(row.original, row.original_size)),
        ("gated", None if row.gated == "no" else row.gated),
        ("quantised", _place(row.gguf, row.gguf_size)),
        ("packages", f"{packages[0]}{' …' if len(packages) > 1 else ''}" if packages else None),
        ("here", f"{chosen} of {where}: {first.reason}"),
        ("fetch it", f"unillm pull {name}"),
    ]
    data = {
        "name": name,
        "installed": False,
        "architecture": row.architecture,
        "supported": is_known(row.architecture, "safetensors") if row.architecture else None,
        "parameter_count": row.parameters,
        "license": row.licence,
        "gated": row.gated,
        "original": {"repo": row.original, "size": row.original_size},
        "gguf": {"repo": row.gguf, "size": row.gguf_size, "quantization_level": row.quant},
        "packages": packages,
        "variant": chosen,
        "from": where,
        "reason": first.reason,
    }
    return Shown(f"{name} (not on this machine)", facts, [], data)


def _details(details: Details) -> list[tuple[str, str | None]]:
    parameters = f"{count_text(details.parameters)} ({details.parameters:,})" if details.parameters else None
    return [
        ("architecture", details.architecture),
        ("parameters", parameters),
        ("context", f"{details.context:,} tokens" if details.context else None),
        ("quantisation", details.quantisation),
        ("in memory", _unpacked(details)),
    ]


def _unpacked(details: Details) -> str | None:
    """What the weights take once loaded, where that is plainly more than in the file."""
    if details.parameters is None or not (details.quantisation or "").startswith(("IQ1", "IQ2", "IQ3")):
        return None
    return f"about {bytes_text(int(details.parameters * _GRID_BITS / 8))}: {_GRID_BITS:.1f} bits a weight"


def _chosen(offer: Offer) -> tuple[str, str]:
    """The variant that an offer brings, and from where."""
    match offer:
        case HubOffer(repo, quant=quant):
            return quant or "the original weights", repo
        case PackageOffer(source):
            return source.quant, source.packages[0]
        case RegistryOffer(name, tag):
            return tag, name


def _judged(architecture: str | None) -> str | None:
    if architecture is None or is_known(architecture, "safetensors"):
        return architecture
    return f"{architecture}, which unillm does not run"


def _place(repo: str | None, size: int | None) -> str | None:
    if repo is None:
        return None
    return f"{repo} ({bytes_text(size)})" if size else repo


def _capabilities(files: ModelFiles) -> list[str]:
    """What it can; nothing is known of one whose files cannot be read, which is told elsewhere."""
    from ...runtime.text.abilities import capabilities  # late: it brings what reads templates

    with suppress(RegistryError, OSError):
        return capabilities(files)
    return []


def _template_text(template: str | None) -> str | None:
    return f"{len(template):,} letters; --template prints it" if template else None
