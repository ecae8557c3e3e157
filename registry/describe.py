"""What a model's files say of it: read from their headers alone, once, when the model is put on the shelf."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import RegistryError
from .events import Listener, Notice, nobody
from .files import ModelFiles
from .formats.gguf import read_gguf
from .formats.json_file import read_json_object
from .formats.safetensors import read_safetensors
from .formats.sniff import Format
from .formats.view import TensorView
from .manifest import Details
from .packing import read_packing

_LONGEST_TEMPLATE = 1 << 20


def read_details(files: ModelFiles, quant: str | None = None) -> Details:
    """Architecture, size and context of a model. Raises what is wrong with its files."""
    if files.format == "gguf":
        return _of_gguf(files.weights, quant)
    config = read_json_object(files.files["config.json"]) if "config.json" in files.files else {}
    tensors, packing = _tensors(files.format, files.weights), read_packing(config)
    text = config.get("text_config")
    inner: Mapping[str, object] = text if isinstance(text, dict) else config
    return Details(
        architecture=_first_text(config.get("architectures")) or _text(config.get("model_type")),
        parameters=(packing.parameters(tensors) if packing else sum(one.num_elements for one in tensors)) or None,
        context=_whole(inner.get("max_position_embeddings")),
        quantisation=packing.label
        if packing
        else _commonest(tensors) or _text(inner.get("torch_dtype") or inner.get("dtype")),
        chat_template=_template(files.files),
    )


def describe(files: ModelFiles, quant: str | None, listener: Listener = nobody) -> Details:
    """The same of a model that is being put on the shelf: files that cannot be read say nothing, the listener why."""
    try:
        return read_details(files, quant)
    except RegistryError as error:
        listener(Notice(f"{files.name} is here, but says little of itself: {error}"))
        return Details(quantisation=quant)


def _of_gguf(weights: Sequence[Path], quant: str | None) -> Details:
    header = read_gguf(weights, vocabulary=False)
    architecture = _text(header.metadata.get("general.architecture"))
    tensors = list(header.tensors.values())
    return Details(
        architecture=architecture,
        parameters=sum(one.num_elements for one in tensors) or None,
        context=_whole(header.metadata.get(f"{architecture}.context_length")),
        quantisation=quant or _commonest(tensors),
        chat_template=_long_text(header.metadata.get("tokenizer.chat_template")),
    )


def _template(files: Mapping[str, Path]) -> str | None:
    """The chat template: a file of its own, or an entry of the tokenizer's configuration."""
    if (own := files.get("chat_template.jinja")) and own.stat().st_size <= _LONGEST_TEMPLATE:
        return own.read_text("utf-8", errors="replace")
    config = read_json_object(files["tokenizer_config.json"]) if "tokenizer_config.json" in files else {}
    found = config.get("chat_template")
    named = found if isinstance(found, list) else []
    default = next(
        (one.get("template") for one in named if isinstance(one, dict) and one.get("name") == "default"), None
    )
    return _long_text(default if named else found)


def _tensors(kind: Format, weights: Sequence[Path]) -> list[TensorView]:
    """Those of safetensors; a .bin would have to be loaded to know them."""
    if kind != "safetensors":
        return []
    return [tensor for path in weights for tensor in read_safetensors(path).tensors.values()]


def _commonest(tensors: Sequence[TensorView]) -> str | None:
    """The type that most of the weights have."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.dtype] += tensor.num_elements
    return sizes.most_common(1)[0][0] if sizes else None


def _long_text(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= _LONGEST_TEMPLATE else None


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) else None


def _first_text(value: object) -> str | None:
    return _text(value[0]) if isinstance(value, list) and value else None


def _whole(value: object) -> int | None:
    return value if type(value) is int else None
