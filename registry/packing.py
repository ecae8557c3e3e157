"""What config.json says of weights that some tool has packed, in words; and how many numbers are in their tensors.

Whether unillm reads them is not judged here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .formats.view import TensorView

_WORDS: Final = (".qweight", ".weight_packed")
_BESIDE: Final = (
    ".qzeros",
    ".scales",
    ".g_idx",
    ".SCB",
    ".weight_format",
    ".weight_shape",
    ".weight_scale",
    ".weight_scale_inv",
    ".weight_zero_point",
    ".weight_g_idx",
    "_scales",
)
_NAMES: Final = {"gptq": "GPTQ", "awq": "AWQ", "fp8": "FP8", "mxfp4": "MXFP4", "auto-round": "AutoRound"}


@dataclass(frozen=True, slots=True)
class Packing:
    """`label` is for people; `bits` those of a number in the words of the tensors, where that is said."""

    label: str
    bits: int | None

    def parameters(self, tensors: list[TensorView]) -> int:
        """How many numbers the weights are, scales and zeros left out."""
        return sum(self._numbers(one) for one in tensors)

    def _numbers(self, tensor: TensorView) -> int:
        name = tensor.name
        if name.endswith(_BESIDE) or ".weight." in name:
            return 0
        if tensor.dtype == "U8":  # of four bits each
            return 2 * tensor.num_elements
        if name.endswith(_WORDS) and tensor.dtype == "I32":
            return tensor.nbytes * 8 // (self.bits or 4)
        return tensor.num_elements


def read_packing(config: Mapping[str, Any]) -> Packing | None:
    """None where config.json speaks of none."""
    section = config.get("quantization_config")
    if not isinstance(section, Mapping):
        return None
    method = section.get("quant_method")
    name = method[:40] if isinstance(method, str) else "packed in an unnamed way"
    details = _of_groups(section) if method == "compressed-tensors" else section
    bits, group = _count(details.get("bits", details.get("num_bits"))), _count(details.get("group_size"))
    said = [
        _NAMES.get(name, name),
        _bitsandbytes(section) if method == "bitsandbytes" else None,
        f"{bits} bits" if bits else None,
        f"groups of {group}" if group else None,
    ]
    return Packing(", ".join(word for word in said if word), bits)


def _of_groups(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the first group of modules says of its weights."""
    groups = section.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
    weights = first.get("weights") if isinstance(first, Mapping) else None
    return weights if isinstance(weights, Mapping) else {}


def _bitsandbytes(section: Mapping[str, Any]) -> str:
    kind = section.get("bnb_4bit_quant_type")
    return "int8" if section.get("load_in_8bit") is True else kind[:10] if isinstance(kind, str) else "4 bits"


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 < value < 1 << 20 else None
