"""A model of one's own: another's files under a new name, with what the user has pinned to it.

Nothing is copied. Until its manifest is written, in one piece, the model is not there, or is what it was before.
"""

from dataclasses import replace
from datetime import UTC, datetime

from .aliases import Catalogue
from .errors import InvalidName, ModelfileError
from .events import Listener, Notice, Shelved, nobody
from .files import ModelFiles
from .finding import find_installed
from .formats.gguf import GGUFValue, read_gguf
from .go_templates import is_go, is_template, known_jinja, wants_bos
from .manifest import Manifest
from .modelfile import Modelfile
from .names import Kind, ModelRef
from .pull import manifest_in_place, pull
from .settings import RegistrySettings
from .shelf import Entry, Shelf
from .store import Store


def create(
    name: str,
    recipe: Modelfile,
    settings: RegistrySettings,
    listener: Listener = nobody,
    *,
    base: Manifest | None = None,
) -> Entry:
    """Put on the shelf what `recipe` describes, in place of any model of that name. What FROM names is pulled.

    `base` is what the model is made from where that is nothing that FROM could name.
    """
    target = own_name(name, settings)
    shelf = Shelf(settings)
    base = base or base_of(name, recipe, settings, listener)
    made = replace(
        base,
        ref=target,
        pulled=datetime.now(UTC).replace(microsecond=0),
        template=_template(recipe, base, settings, listener),
        parameters={**base.parameters, **recipe.parameters},
        system=base.system if recipe.system is None else recipe.system,
        messages=recipe.messages or base.messages,
        terms=recipe.licence or base.terms,
    )
    for text in recipe.notices:
        listener(Notice(text))
    entry = shelf.add(made)
    listener(Shelved(entry.name))
    return entry


def own_name(name: str, settings: RegistrySettings) -> ModelRef:
    """The whole name of a model of the user's own. Raises `InvalidName` for a path or a repository."""
    ref = ModelRef.parse(name)
    if ref.kind is not Kind.SHORT:
        raise InvalidName(name, "a model of your own is called name or name:tag")
    return Catalogue.read(settings.aliases).canonical(ref) if ref.tag else ref.with_tag("latest")


def base_of(name: str, recipe: Modelfile, settings: RegistrySettings, listener: Listener = nobody) -> Manifest:
    """What `name` is made from: a path beside the Modelfile, or a model that is here or can be fetched."""
    target, shelf = own_name(name, settings), Shelf(settings)
    try:
        ref = ModelRef.parse(recipe.source)
    except InvalidName as error:
        raise ModelfileError(recipe.path, recipe.lines.get("FROM"), str(error), error.hint) from error
    if ref.is_path:
        beside = recipe.path.absolute().parent / ref.path.expanduser()
        return manifest_in_place(replace(ref, path=beside), target, listener)
    template = recipe.template if recipe.template and not is_go(recipe.template) else None
    entry = find_installed(ref, shelf, settings) or pull(ref, settings, listener, template=template)
    shelf.ready(entry, listener)
    return entry.sound


def files_of(base: Manifest, settings: RegistrySettings) -> ModelFiles:
    """The files of what a model is made from, whether it stands on the shelf or not."""
    store = Store(settings.home)
    return Entry(str(base.ref), store.manifest(base.ref), store, base).files()


def _template(recipe: Modelfile, base: Manifest, settings: RegistrySettings, listener: Listener) -> str | None:
    """The template to pin. One of Ollama's is turned into Jinja, or gives way to the model's own, or is refused."""
    wanted = recipe.template
    if wanted is None:
        return base.template
    if not is_template(wanted):
        raise recipe.error("TEMPLATE", "it has no place for the conversation: nothing in {{ }} or {% %}")
    if not is_go(wanted):
        return wanted
    own = base.template or base.details.chat_template
    if jinja := known_jinja(wanted, bos=wants_bos(own, _metadata(base, settings))):
        return jinja
    if own is None:
        raise recipe.error(
            "TEMPLATE", "it is written for Ollama in a way not known here, and the model has none of its own"
        )
    line = recipe.lines.get("TEMPLATE")
    where = f"{recipe.path}: line {line}" if line else str(recipe.path)
    listener(Notice(f"{where}: the template is written for Ollama in a way not known here; the model's own is used"))
    return base.template


def _metadata(base: Manifest, settings: RegistrySettings) -> dict[str, GGUFValue]:
    if base.format != "gguf":
        return {}
    return read_gguf(files_of(base, settings).weights, vocabulary=False).metadata
