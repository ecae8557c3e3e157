"""How files spell the rotary positions of a model, as a `RopeConfig`.

Hugging Face has two spellings: `rope_theta` beside `rope_scaling` with `type` or `rope_type`, and since transformers 5
one `rope_parameters`. GGUF has `rope.freq_base` and `rope.scaling.*`; Llama 3's divisors and LongRoPE's are tensors
there, which the model adds when it loads.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import torch

from .config import LONGEST, Keys
from .parts.rope import RopeConfig
from .parts.scaling import Dynamic, Linear, Llama3, Long, Scaling, Unscaled, Yarn, long_factor, yarn_factor

SLOWEST: Final = 1e12  # the base
STRETCH: Final = 1e6

Reader: TypeAlias = Callable[[Keys, Keys, int], Scaling]


def rope_from_hf(keys: Keys, dim: int, *, interleaved: bool = False, share: float = 1.0) -> RopeConfig:
    """Either spelling. Of a head's `dim` numbers the `share` turns that the file says, or this one. Raises
    `ConfigError` naming the key.
    """
    section = keys.section("rope_scaling") or keys.section("rope_parameters") or Keys({}, "rope_parameters.")
    return rope_of_section(section, keys, _turning(section, keys, dim, share), interleaved=interleaved)


def ropes_from_hf(keys: Keys, dim: int, *, full: float, sliding: float) -> tuple[RopeConfig, RopeConfig]:
    """Of models whose full and sliding layers turn at different paces, with the bases that hold where none is said."""
    section = keys.section("rope_parameters")
    if section is None or not (section.has("full_attention") or section.has("sliding_attention")):
        whole = keys.section("rope_scaling") or Keys({}, "rope_scaling.")
        base = keys.number("rope_local_base_freq", sliding, low=1.01, high=SLOWEST)
        return rope_of_section(whole, keys, dim, full), RopeConfig(base, dim, Unscaled())
    whole, local = (section.section(f"{kind}_attention") or Keys({}) for kind in ("full", "sliding"))
    return rope_of_section(whole, keys, dim, full), rope_of_section(local, keys, dim, sliding)


def _turning(section: Keys, keys: Keys, dim: int, share: float) -> int:
    place = section if section.has("partial_rotary_factor") else keys
    turning = int(dim * place.number("partial_rotary_factor", share, low=0.0, high=1.0))
    if turning < 2 or turning % 2:
        raise place.error("partial_rotary_factor", f"{turning} of {dim} numbers cannot turn")
    return turning


def rope_of_section(
    section: Keys, keys: Keys, dim: int, base: float = 10_000.0, *, interleaved: bool = False
) -> RopeConfig:
    theta_in = section if section.has("rope_theta") else keys
    theta = theta_in.number("rope_theta", base, low=1.01, high=SLOWEST)
    spelling = "rope_type" if section.has("rope_type") else "type"
    kind = section.word(spelling, {name: name for name in _READERS}, "default")
    return RopeConfig(theta, dim, _READERS[kind](section, keys, dim), interleaved)


def rope_from_gguf(keys: Keys, head_dim: int, *, interleaved: bool) -> RopeConfig:
    """Key-values under an architecture's prefix."""
    dim = keys.count("rope.dimension_count", head_dim, most=head_dim)
    if dim % 2:
        raise keys.error("rope.dimension_count", f"{dim} is odd")
    theta = keys.number("rope.freq_base", 10_000.0, low=1.01, high=SLOWEST)
    return RopeConfig(theta, dim, _gguf_scaling(keys), interleaved)


def _stretch(section: Keys, default: float | None = None) -> float:
    if default is not None and not section.has("factor"):
        return default
    return section.number("factor", low=1.0 / STRETCH, high=STRETCH)


def _context(keys: Keys) -> int:
    return keys.count("max_position_embeddings", 2048, most=LONGEST)


def _trained(section: Keys, keys: Keys) -> int:
    """The length before stretching; beside the section, in it, or the context itself."""
    name = "original_max_position_embeddings"
    place = keys if keys.has(name) else section
    return place.count(name, _context(keys), most=LONGEST)


def _unscaled(_section: Keys, _keys: Keys, _dim: int) -> Scaling:
    return Unscaled()


def _linear(section: Keys, _keys: Keys, _dim: int) -> Scaling:
    return Linear(_stretch(section))


def _dynamic(section: Keys, keys: Keys, dim: int) -> Scaling:
    if dim <= 2:
        raise keys.error("head_dim", f"{dim} is too small for dynamic scaling")
    return Dynamic(_stretch(section), _context(keys))


def _llama3(section: Keys, keys: Keys, _dim: int) -> Scaling:
    low = section.number("low_freq_factor", low=1e-6, high=STRETCH)
    high = section.number("high_freq_factor", low=1e-6, high=STRETCH)
    if high <= low:
        raise section.error("high_freq_factor", f"{high:g} is not above low_freq_factor, {low:g}")
    return Llama3(_stretch(section), low, high, _trained(section, keys))


def _yarn(section: Keys, keys: Keys, _dim: int) -> Scaling:
    trained = _trained(section, keys)
    stretch = _stretch(section, _context(keys) / trained)
    return Yarn(
        stretch,
        trained,
        _yarn_attention(section, stretch),
        beta_fast=section.number("beta_fast", 32.0, low=1e-6, high=STRETCH),
        beta_slow=section.number("beta_slow", 1.0, low=1e-6, high=STRETCH),
        truncate=section.flag("truncate", True),
    )


def _yarn_attention(section: Keys, stretch: float) -> float:
    if section.has("attention_factor"):
        return section.number("attention_factor", low=1e-6, high=STRETCH)
    scale = section.number("mscale", 0.0, low=0.0, high=STRETCH)
    everywhere = section.number("mscale_all_dim", 0.0, low=0.0, high=STRETCH)
    if scale and everywhere:
        return yarn_factor(stretch, scale) / yarn_factor(stretch, everywhere)
    return yarn_factor(stretch)


def _longrope(section: Keys, keys: Keys, dim: int) -> Scaling:
    trained = _trained(section, keys)
    stretch = _stretch(section, _context(keys) / trained)
    short, long = (section.numbers(key, dim // 2, low=1e-6, high=STRETCH) for key in ("short_factor", "long_factor"))
    factor = section.number("attention_factor", long_factor(stretch, trained), low=1e-6, high=STRETCH)
    return Long(trained, factor, torch.tensor(short), torch.tensor(long))


_READERS: Final[Mapping[str, Reader]] = {
    "default": _unscaled,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
    "su": _longrope,
}


def _gguf_scaling(keys: Keys) -> Scaling:
    """GGUF's `linear` without a factor is no scaling; `longrope` gets its divisors from tensors. Files of Phi do not
    name it: they have its factor alone.
    """
    kinds = {"none": "none", "linear": "linear", "yarn": "yarn", "longrope": "longrope"}
    scaling = Keys(keys.values, f"{keys.prefix}rope.scaling.")
    unnamed = "longrope" if scaling.has("attn_factor") and scaling.has("original_context_length") else "linear"
    kind = keys.word("rope.scaling.type", kinds, unnamed)
    factor = scaling.number("attn_factor", 1.0, low=1e-6, high=STRETCH)
    if kind == "yarn":
        return _gguf_yarn(scaling, keys, factor)
    if kind == "longrope":
        return Long(scaling.count("original_context_length", most=LONGEST), factor)
    if kind == "linear" and scaling.has("factor"):
        return Linear(_stretch(scaling), factor)
    return Unscaled(factor)


def _gguf_yarn(scaling: Keys, keys: Keys, factor: float) -> Scaling:
    context = keys.count("context_length", most=LONGEST)
    stretch = _stretch(scaling)
    return Yarn(
        stretch,
        scaling.count("original_context_length", context, most=LONGEST),
        factor * scaling.number("yarn_attn_factor", yarn_factor(stretch), low=1e-6, high=STRETCH),
        beta_fast=scaling.number("yarn_beta_fast", 32.0, low=1e-6, high=STRETCH),
        beta_slow=scaling.number("yarn_beta_slow", 1.0, low=1e-6, high=STRETCH),
    )
