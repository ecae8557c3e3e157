"""The models of the shelf over HTTP: listed, shown, fetched, made, copied, removed; and those that are loaded."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ....registry.create import base_of, own_name
from ....registry.create import create as created
from ....registry.digests import Digest
from ....registry.errors import FormatError, InvalidName, NotInstalled, NotUploaded, NoWeights, RegistryError
from ....registry.files import Message
from ....registry.go_templates import is_go
from ....registry.manifest import Manifest
from ....registry.modelfile import Modelfile, translate_parameters
from ....registry.names import ModelRef
from ....registry.pull import pull as pulled
from ....registry.settings import RegistrySettings
from ....registry.shelf import Shelf
from ....registry.store import Store
from ....registry.uploads import manifest_of_uploads
from ...errors import InvalidParameter
from ...hosting.asking import Fault, HostError, Resident
from ...hosting.faults import fault_of
from ...params import SamplingParams
from ...text.errors import TemplateFault
from ...text.template import ChatTemplate
from ..app import json_response
from ..catalogue import Catalogue
from ..endpoint import Refused, Server, invalid
from ..known import forget
from . import describing
from .answering import about
from .quantizing import QUANTIZING, mixture_of, one_at_a_time, quantized
from .results import ListedModels, LoadedModel, LoadedModels, ModelDetails, Version
from .types import CopyBody, CreateBody, NamedBody, PullBody, ShowBody
from .wording import moment, sentence
from .working import Telling, worked

_NEVER = datetime(2318, 1, 1, tzinfo=UTC)  # what Ollama says of a model that stays: clients want a date
_REQUEST = Path("request")  # what errors of a recipe name as its file

Result = TypeVar("Result")


async def pull(server: Server, body: PullBody, request: Request) -> Response:
    name = _named(body)
    if body.insecure:
        raise invalid("insecure", "insecure is not supported: models come over connections that are checked")
    _not_a_path("model", name)

    def work(telling: Telling) -> None:
        pulled(name, server.catalogue.settings, telling)
        forget(server.catalogue)

    return await worked(work, request, streams=body.stream is not False, failure=_why_not_pulled)


async def create(server: Server, body: CreateBody, request: Request) -> Response:
    name = _named(body)
    recipe, uploads, mixture = _recipe(body, server.catalogue.served), _uploads(body), mixture_of(body.quantize)

    def make(telling: Telling) -> None:
        settings = server.catalogue.settings
        with Store(settings.home).working():  # until it has its manifest, nothing needs the files that it is made of
            base = _sent(name, uploads, settings) if uploads else None
            if mixture is not None:
                base = base or base_of(name, recipe, settings, telling)
                base = quantized(name, base, mixture, settings, telling)
            created(name, recipe, settings, telling, base=base)
        forget(server.catalogue)

    def work(telling: Telling) -> None:
        with one_at_a_time(server.quantizes) if mixture is not None else nullcontext():
            make(telling)

    await _with_registry("model", lambda: own_name(name, server.catalogue.settings))
    if mixture is not None and server.quantizes.locked():
        raise HostError(QUANTIZING)
    return await worked(work, request, streams=body.stream is not False)


async def copy(server: Server, body: CopyBody, _request: Request) -> Response:
    """The new name takes the place of any model that had it, as Ollama does."""
    if not body.source or not body.destination:
        raise invalid("source", "source and destination are required")
    try:
        await _with_registry("source", lambda: _copy(server.catalogue, body.source, body.destination))
    except Refused as refused:
        if refused.fault.kind == "not_found":
            raise _missing(f'model "{body.source}" not found', refused.fault) from None
        raise
    forget(server.catalogue)
    return Response()


async def delete(server: Server, body: NamedBody, _request: Request) -> Response:
    name = _named(body)
    with about(name):
        entry = await _with_registry("model", lambda: describing.find_entry(name, server.catalogue.settings))
        if entry is None:
            raise Refused(Fault("not_found", f"model '{name}' not found", field="model"))
        await server.host.unload(name)
        await _with_registry("model", lambda: Shelf(server.catalogue.settings).remove(entry))
    forget(server.catalogue)
    return Response()


async def running(_server: Server, _body: None, _request: Request) -> Response:
    return Response("Ollama is running", media_type="text/plain")


async def version(server: Server, _body: None, _request: Request) -> Response:
    return json_response(Version(server.version))


async def tags(server: Server, _body: None, _request: Request) -> Response:
    """What is installed, and what is loaded from elsewhere."""
    loaded = [one.name for one in await server.host.residents()]
    return json_response(ListedModels(await asyncio.to_thread(describing.entries, server.catalogue, loaded)))


async def show(server: Server, body: ShowBody, _request: Request) -> Response:
    name = _named(body)
    with about(name):
        shown = await _with_registry(
            "model", lambda: describing.show(server.catalogue, name, verbose=bool(body.verbose))
        )
    return json_response(shown)


async def processes(server: Server, _body: None, _request: Request) -> Response:
    """What is loaded, the longest-lived first."""
    found = await server.host.residents()
    living = sorted(found, key=lambda one: one.expires or _NEVER.timestamp(), reverse=True)
    return json_response(LoadedModels([await asyncio.to_thread(_loaded, server.catalogue, one) for one in living]))


def _loaded(catalogue: Catalogue, resident: Resident) -> LoadedModel:
    digest, details = (
        resident.digest or "",
        ModelDetails(
            format="", family=resident.architecture or "", families=[], parameter_size="", quantization_level=""
        ),
    )
    try:
        told = describing.describe(catalogue, resident.name)
        digest, details = told.digest, describing.details(told)
    except (RegistryError, OSError):  # it was removed meanwhile: it is loaded all the same
        pass
    return LoadedModel(
        name=resident.name,
        model=resident.name,
        size=resident.size,
        digest=digest,
        details=details,
        expires_at=moment(_NEVER if resident.expires is None else datetime.fromtimestamp(resident.expires, UTC)),
        size_vram=0 if resident.device in ("", "cpu") else resident.size,
        context_length=resident.context,
    )


async def _with_registry(field: str, work: Callable[[], Result]) -> Result:
    """What `work` gives, done in a thread. What the registry has against it is refused under the name of `field`."""
    try:
        return await asyncio.to_thread(work)
    except RegistryError as error:
        raise Refused(msgspec.structs.replace(fault_of(error), field=field)) from error


def _named(body: NamedBody) -> str:
    if not body.called:
        raise invalid("model", "model is required")
    return body.called


def _missing(message: str, fault: Fault) -> Refused:
    return Refused(msgspec.structs.replace(fault, message=message))


def _why_not_pulled(fault: Fault) -> str:
    told = sentence(fault)
    return f"pull model manifest: file does not exist: {told}" if fault.kind == "not_found" else told


def _not_a_path(field: str, name: str) -> None:
    """A request names models; what else lies on this machine is none of its business."""
    try:
        ref = ModelRef.parse(name)
    except InvalidName as error:
        raise HostError(fault_of(error)) from error
    if ref.is_path:
        raise invalid(field, f"{field} is a path; it must be a model's name")


def _copy(catalogue: Catalogue, source: str, destination: str) -> None:
    entry = describing.find_entry(source, catalogue.settings)
    if entry is None:
        raise NotInstalled(source)
    target = own_name(destination, catalogue.settings)
    made = replace(entry.sound, ref=target, pulled=datetime.now(UTC).replace(microsecond=0))
    Shelf(catalogue.settings).add(made)


def _uploads(body: CreateBody) -> dict[str, Digest]:
    return {name: digest(text) for name, text in (body.files or {}).items()}


def _sent(name: str, uploads: dict[str, Digest], settings: RegistrySettings) -> Manifest:
    """What is made of files that a client has sent: what is wrong with them is the client's to mend."""
    try:
        return manifest_of_uploads(name, uploads, settings)
    except NotUploaded as error:
        hint = f"send it first: POST /api/blobs/{error.digest}"
        raise HostError(msgspec.structs.replace(fault_of(error), hint=hint, field="files")) from error
    except (FormatError, NoWeights) as error:
        raise HostError(msgspec.structs.replace(fault_of(error), kind="invalid", field="files")) from error


def digest(text: str) -> Digest:
    """Raises `Refused` for what is no sha256."""
    try:
        found = Digest.parse(text)
    except ValueError:
        found = None
    if found is None or found.kind != "sha256":
        raise invalid("digest", f"invalid digest format: {text[:100]!r}")
    return found


def _recipe(body: CreateBody, served: Mapping[str, str]) -> Modelfile:
    """What is asked for, as a Modelfile says it; a model that is `served` from a path is that. Raises `Refused`."""
    if body.adapters:
        raise invalid("adapters", "adapters are not supported: merge them into the weights first")
    if not body.source and not body.files:
        raise invalid("from", "neither 'from' or 'files' was specified")
    if body.source and body.files:
        raise invalid("files", "files and from exclude each other: a model is made of one or of the other")
    if body.source:
        _not_a_path("from", body.source)
    licence = "\n\n".join(body.license) if isinstance(body.license, list) else body.license
    try:
        read = translate_parameters(_REQUEST, body.parameters or {})
    except RegistryError as error:
        raise invalid("parameters", str(error).removeprefix(f"{_REQUEST}: ")) from error
    read.source, read.system, read.licence = body.source or "", body.system, licence or None
    read.source = served.get(read.source, read.source)
    read.template = body.template or None
    read.messages = tuple(Message(one.role, one.content) for one in body.messages or ())
    _check(read)
    return read


def _check(recipe: Modelfile) -> None:
    """What only a run would find: values out of range, roles that are none, Jinja that cannot be read."""
    known: dict[str, Any] = {name: value for name, value in recipe.parameters.items() if name != "context"}
    try:
        SamplingParams(**known)
    except InvalidParameter as error:
        raise invalid(f"parameters.{error.field}", str(error)) from error
    if wrong := [one.role for one in recipe.messages if one.role not in ("system", "user", "assistant")]:
        raise invalid("messages", f"messages has the role {wrong[0]!r}; it must be system, user or assistant")
    if recipe.template is not None and not is_go(recipe.template):
        try:
            ChatTemplate(recipe.template, "template")
        except TemplateFault as error:
            raise invalid("template", str(error)) from error
