"""Which tool has packed a checkpoint, and how: config.json's `quantization_config`.

Only what the tensors do not say themselves is read here: how the zeros of GPTQ are counted, the blocks of 8-bit floats.
Which modules were left as they were, the tensors show. Scales of activations and of the cache are passed by:
activations stay what they are, and how the cache is kept is for who runs the model.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Protocol

from ..config import TEXT, WIDEST, Keys, of_text
from ..quantized import QuantizedTensor
from .awq import Awq
from .bits import WIDTHS
from .bitsandbytes import BitsAndBytes
from .compressed import Compressed
from .float8 import Float8
from .gptq import Gptq
from .modelopt import ModelOptimizer
from .stored import Stored

SECTION: Final = "quantization_config"

# Ends of names that no method's matrices need: scales of keys, values and queries, of inputs and of outputs.
PASSED_BY: Final = tuple(
    f"{what}_{kind}" for what in ("k", "v", "q", "kv", "prob", "input", "output") for kind in ("scale", "zero_point")
)


class Method(Protocol):
    """How matrices are packed. One is where a tensor has an end of `marks`; `others` are the ends beside it."""

    marks: ClassVar[tuple[str, ...]]
    others: ClassVar[tuple[str, ...]]

    def read(self, stored: Stored) -> QuantizedTensor:
        """The matrix of these tensors. Raises `WeightsError`."""
        ...


class Known:
    """What a family reads itself: the MXFP4 experts of gpt-oss."""

    marks: ClassVar[tuple[str, ...]] = ()
    others: ClassVar[tuple[str, ...]] = ()

    def read(self, stored: Stored) -> QuantizedTensor:
        raise stored.error("weight", "is not packed")


def read_method(config: Mapping[str, Any]) -> Method | None:
    """None where config.json speaks of no quantisation, of the text model neither. Raises `ConfigError` for what is not
    read here.
    """
    section = Keys(config).section(SECTION) or Keys(of_text(config)).section(SECTION)
    if section is None:
        return None
    return _READERS[section.word("quant_method", {name: name for name in _READERS})](section)


def without_method(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a model whose weights are as plain as those of any other, once they are read."""
    told = {key: value for key, value in config.items() if key != SECTION}
    inner = told.get(TEXT)
    return {**told, TEXT: without_method(inner)} if isinstance(inner, Mapping) else told


def _gptq(keys: Keys) -> Method:
    _bits(keys, WIDTHS)
    if keys.flag("is_marlin_format", False):
        raise keys.error("is_marlin_format", "only the usual order is read, not that of Marlin's kernels")
    kind = keys.word("checkpoint_format", {"gptq": "gptq", "gptq_v2": "gptq_v2"}, "gptq")
    group = keys.integer("group_size", -1, low=-1, high=WIDEST)
    return Gptq(group if group > 0 else None, shifted=kind == "gptq")


def _awq(keys: Keys) -> Method:
    _bits(keys, (4,))
    keys.word("version", {"gemm": "", "GEMM": "", "exllama": ""}, "gemm")
    return Awq()


def _auto_round(keys: Keys) -> Method:
    layout = keys.word(
        "packing_format",
        {"auto_round:auto_gptq": "gptq", "auto_round:auto_awq": "awq", "auto_gptq": "gptq", "auto_awq": "awq"},
        "auto_round:auto_gptq",
    )
    return _gptq(keys) if layout == "gptq" else _awq(keys)


def _float8(keys: Keys) -> Method:
    if not keys.has("weight_block_size"):
        return Float8()
    return Float8(_tile(keys, "weight_block_size"))


def _model_optimizer(keys: Keys) -> Method:
    floats = ("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "NVFP4", "W4A16_NVFP4", "MIXED_PRECISION")
    keys.word("quant_algo", {name: name for name in floats})
    return ModelOptimizer()


def _compressed(keys: Keys) -> Method:
    floats = ("float-quantized", "naive-quantized", "mxfp4-pack-quantized", "nvfp4-pack-quantized")
    formats = ("pack-quantized", "int-quantized", *floats, "dense")
    keys.word("format", {name: name for name in (*formats, "mixed-precision")}, "dense")
    groups, tiles = keys.section("config_groups"), set[tuple[int, int]]()
    for name in [] if groups is None else groups.values:
        group = groups.section(name.removeprefix(groups.prefix)) if groups else None
        weights = None if group is None else group.section("weights")
        if group is None or weights is None:
            continue
        if group.has("format"):
            group.word("format", {name: name for name in formats})
        weights.word("type", {"int": "int", "float": "float"}, "int")
        _bits(weights, (4, 8), "num_bits")
        if weights.has("block_structure"):
            tiles.add(_tile(weights, "block_structure"))
    if len(tiles) > 1:
        raise keys.error("config_groups", "they have blocks of several sizes")
    return Compressed(next(iter(tiles), None))


def _bits(keys: Keys, widths: tuple[int, ...], key: str = "bits") -> None:
    bits = keys.integer(key, widths[-1], low=1, high=64)
    if bits not in widths:
        raise keys.error(key, f"numbers of {bits} bits are not read, only of {', '.join(map(str, widths))}")


def _tile(keys: Keys, key: str) -> tuple[int, int]:
    sizes = keys.numbers(key, 2, low=1, high=WIDEST)
    return int(sizes[0]), int(sizes[1])


_READERS: Final[Mapping[str, Callable[[Keys], Method]]] = {
    "gptq": _gptq,
    "awq": _awq,
    "auto-round": _auto_round,
    "fp8": _float8,
    "fbgemm_fp8": _float8,
    "modelopt": _model_optimizer,
    "bitsandbytes": lambda _: BitsAndBytes(),
    "compressed-tensors": _compressed,
    "mxfp4": lambda _: Known(),
}
