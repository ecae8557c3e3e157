"""A model as a GGUF of another mixture of kinds: from safetensors, from a `.bin`, or from a GGUF of plain numbers.

Nothing is loaded whole: the plan is made from headers, then a tensor at a time is read, packed and written.
"""

from functools import partial
from pathlib import Path
from typing import Final

from torch import Tensor

from ...models.blocks import PACKED_KINDS
from ...models.names import gguf_name
from ...registry.events import Listener, Progress, nobody
from ...registry.files import ModelFiles
from ..errors import InvalidParameter, NotWritable
from ..text.template import ChatTemplate
from ..weights.gguf import DECODED_KINDS, GGUFWeights
from ..weights.grids import GRID_KINDS
from ..weights.load import open_weights
from ..weights.sized import SizedLoader
from .encode import encoded
from .gguf_file import Planned, Value, write_gguf
from .keys import divisors, heads_to_turn, model_keys, neighbouring, read_config
from .mixtures import MIXTURES, Mixture
from .vocabulary import vocabulary_keys

_SHARDS: Final = "split."


def quantize_model(files: ModelFiles, mixture: str, target: Path, listener: Listener = nobody) -> int:
    """Write `target` and return its size. Raises `InvalidParameter` and `NotWritable`, and what reading raises."""
    if mixture not in MIXTURES:
        raise InvalidParameter("to", mixture, f"one of {', '.join(MIXTURES)}")
    chosen, loader = MIXTURES[mixture], open_weights(files)
    if isinstance(loader, GGUFWeights):
        keys, tensors = _from_gguf(files, loader, chosen)
    else:
        keys, tensors = _from_names(files, loader, chosen)
    keys["general.file_type"] = Value(chosen.number, "UINT32")
    keys["general.quantization_version"] = Value(2, "UINT32")
    return write_gguf(target, keys, tensors, lambda done, total: listener(Progress(target.name, done, total)))


def _from_gguf(files: ModelFiles, loader: GGUFWeights, mixture: Mixture) -> tuple[dict[str, Value], list[Planned]]:
    shapes = {name: loader.view(name).shape for name in loader.tensor_names()}
    packed = [name for name in shapes if loader.view(name).dtype in PACKED_KINDS | DECODED_KINDS | GRID_KINDS.keys()]
    if packed:
        reason = f"its weights are quantised already ({packed[0]}: {loader.view(packed[0]).dtype})"
        raise NotWritable(files.name, f"{reason}; a second time would lose more than the first: take the original")
    keys = _copied_keys(files.weights[0])
    layers = int(loader.metadata.config.get(f"{loader.metadata.architecture}.block_count", 0))
    tensors = []
    for name, shape in shapes.items():
        kind = mixture.kind_of(name, shape, shapes, layers) or "F32"
        tensors.append(Planned(name, kind, shape, partial(_loaded, loader, name, kind, 0)))
    return keys, tensors


def _from_names(files: ModelFiles, loader: SizedLoader, mixture: Mixture) -> tuple[dict[str, Value], list[Planned]]:
    if loader.stored_dtype is None:
        reason = "another tool has quantised its weights already"
        raise NotWritable(files.name, f"{reason}; a second time would lose more than the first: take the original")
    architecture, config = read_config(loader.metadata, files.name)
    sources = {
        gguf_name(name): name
        for name in loader.tensor_names()
        if not name.endswith("rotary_emb.inv_freq") and not (config.tied and name == "lm_head.weight")
    }
    shapes = {name: tuple(loader.load_tensor(source).shape) for name, source in sources.items()}
    strange = [source for name, source in sources.items() if name == source]
    if strange:
        raise NotWritable(files.name, f"GGUF has no name for its tensor {strange[0]}")
    size = shapes.get("token_embd.weight", (0,))[0]
    template = ChatTemplate.find(files)
    keys = model_keys(architecture, config, size, files.name)
    keys["general.name"] = Value(files.name, "STRING")
    keys |= vocabulary_keys(files, size, None if template is None else template.sources.get("default"))
    tensors = [_given(name, one) for name, one in divisors(config.rope).items()]
    for name, shape in shapes.items():
        kind = mixture.kind_of(name, shape, shapes, config.layers) or "F32"
        turned = heads_to_turn(architecture, name, config)
        tensors.append(Planned(name, kind, shape, partial(_loaded, loader, sources[name], kind, turned)))
    return keys, tensors


def _given(name: str, numbers: Tensor) -> Planned:
    return Planned(name, "F32", tuple(numbers.shape), lambda: numbers)


def _loaded(loader: SizedLoader, name: str, kind: str, turned: int) -> Tensor:
    weight = loader.load_tensor(name)
    made = encoded(kind, neighbouring(weight, turned) if isinstance(weight, Tensor) else weight)
    loader.release(name)
    return made


def _copied_keys(path: Path) -> dict[str, Value]:
    """Every key of a GGUF that our own reader has looked through, with the type that it has there."""
    import gguf  # late: it takes a while

    keys: dict[str, Value] = {}
    for name, field in gguf.GGUFReader(path).fields.items():
        if name.startswith(("GGUF.", _SHARDS)):
            continue
        kind = field.types[-1]
        keys[name] = Value(field.contents(), kind.name)
    return keys
