"""From what a user calls a model to its files on this machine: in place, from the shelf, or pulled now."""

from .errors import ModelNotFound, RegistryError
from .events import Listener, Notice, nobody
from .files import ModelFiles
from .finding import find_installed, near_names, not_installed
from .names import Kind, ModelRef
from .pull import pull
from .settings import RegistrySettings
from .shelf import Shelf
from .sources.local import files_in_place
from .sources.ollama import ollama_files

DEFAULT_MODEL = "tinyllama"
SMALLEST_MODEL = "smollm2:135m"


def locate(
    text: str, settings: RegistrySettings, listener: Listener = nobody, *, pull_missing: bool = True
) -> ModelFiles:
    """The files of the model that `text` names. It is never another model than the one named."""
    ref = ModelRef.parse(text)
    if ref.is_path:
        return files_in_place(ref)
    if ref.kind is Kind.OLLAMA:
        return ollama_files(ref, settings, listener)
    shelf = Shelf(settings)
    entry = find_installed(ref, shelf, settings)
    if entry is None:
        if not pull_missing:
            raise not_installed(text, shelf, settings)
        try:
            entry = pull(ref, settings, listener)
        except ModelNotFound as error:  # what is meant may be one that is here
            raise error if error.where else ModelNotFound(error.ref, near_names(text, shelf, settings)) from None
    return shelf.ready(entry, listener)


def locate_default(settings: RegistrySettings, listener: Listener = nobody) -> ModelFiles:
    """The files of the default model, for a user who has named none.

    Where it cannot be fetched, which the listener hears, the smallest model answers.
    """
    try:
        return locate(DEFAULT_MODEL, settings, listener)
    except RegistryError as error:
        listener(Notice(f"the default model cannot be had: {error}; {SMALLEST_MODEL} answers instead"))
        return locate(SMALLEST_MODEL, settings, listener)
