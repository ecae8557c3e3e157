"""From the files of a model to the model: read what the weights say of themselves, see that they fit, build.

Nothing of the weights is read before the architecture is known, its configuration is sound and the memory is there.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import torch

from ...models.contract import Format, Model, Placement
from ...models.errors import ModelError
from ...models.published.methods import read_method
from ...models.table import find, guess_of
from ...registry.files import ModelFiles
from ..device import available_memory
from ..errors import InvalidParameter, NotEnoughMemory
from ..quantizing.at_load import chooser
from .config import unsaid
from .gguf import GGUFWeights
from .original import seen_as_published
from .published import PublishedWeights
from .pytorch import PyTorchWeights
from .safetensors import SafeTensorsWeights
from .shards import check_indexes
from .sized import SizedLoader

_MOST_BITS: Final = 9  # of a number that is packed as it is loaded


_LOADERS: dict[Format, Callable[[ModelFiles], SizedLoader]] = {
    "safetensors": SafeTensorsWeights.open,
    "gguf": GGUFWeights.open,
    "pytorch": PyTorchWeights.open,
}


def open_weights(files: ModelFiles) -> SizedLoader:
    """The tensors of a model by name. Reads headers only. Raises `ConfigError` where another tool has packed them in a
    way that is not read here.
    """
    check_indexes(files)
    weights = _LOADERS[files.format](files)
    if files.format == "gguf":
        return weights
    weights = seen_as_published(weights)
    if not weights.metadata.architecture:
        raise unsaid(files)
    try:
        method = read_method(weights.metadata.config)
        return weights if method is None else PublishedWeights(weights, method)
    except ModelError as error:
        error.source = files.name
        raise


def load_model(files: ModelFiles, place: Placement) -> Model:
    """Build the model on its device. Raises `NotEnoughMemory` before anything is loaded."""
    return build_model(open_weights(files), place, files.name)


def build_model(weights: SizedLoader, place: Placement, name: str, quantize: str | None = None) -> Model:
    """The same, of weights that are open already; `name` is what an error calls the model.

    `quantize` packs plain matrices as they are loaded; `InvalidParameter` where the weights are packed already.
    """
    try:
        return _build(weights, place, name, quantize)
    except ModelError as error:
        error.source = name
        raise


def _build(weights: SizedLoader, place: Placement, name: str, quantize: str | None) -> Model:
    about = weights.metadata
    family = find(about.architecture, about.format)
    read_config = family.Config.from_gguf if about.format == "gguf" else family.Config.from_hf
    config = read_config(about.config)
    needed = weights.nbytes // place.world
    if quantize is not None:
        if weights.stored_dtype is None:
            raise InvalidParameter("quantize", quantize, f"left out: the weights of {name} are packed already")
        place = replace(place, quantize=chooser(quantize, weights.tensor_names(), config))
        needed = needed * _MOST_BITS // (8 * weights.stored_dtype.itemsize)
    # Packed copies take what they take in the file, whose pages go as each is made.
    check_fits(needed, place.device, name)
    model = family.load(weights, config, place)
    if about.format != "gguf" and model.note is None:
        model.note = guess_of(about.config)
    return model


def check_fits(needed: int, device: torch.device, name: str) -> None:
    available = available_memory(device)
    if needed > available:
        raise NotEnoughMemory(needed, available, name)
