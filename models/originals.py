"""Checkpoints as authors' own code writes them: nothing beside them names a class, but their tensors' names do.

RWKV's `.pth` files have no configuration at all; Mamba's has sizes under names of its own. Each is seen here as the
files that `transformers` users publish of it: which names these have, how a tensor is laid out there, and what their
config.json says, read off the tensors' shapes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from torch import Tensor

from .errors import UnknownArchitecture, WeightsError

Shape: TypeAlias = Callable[[str], tuple[int, ...]]  # of a tensor by the file's name
_Shape: TypeAlias = Callable[[str, int], tuple[int, ...]]  # the same, of one that has so many dimensions
_Renamed: TypeAlias = tuple[tuple[str, str], ...]  # patterns and what takes their place, in turn


@dataclass(frozen=True, slots=True)
class Original:
    """`stored` has the file's names by those of Hugging Face's."""

    architecture: str
    config: Mapping[str, Any]
    stored: Mapping[str, str]
    laid_out: Callable[[str, Tensor], Tensor]  # by Hugging Face's name


def recognise(names: list[str], said: Mapping[str, Any], shape: Shape) -> Original | None:
    """What `names` are of, if it is one of these; `said` is a config.json, or nothing. Raises `UnknownArchitecture` for
    an RWKV that nothing here computes, `WeightsError` for a tensor without the dimensions from which sizes are read.
    """

    def sized(name: str, dimensions: int) -> tuple[int, ...]:
        found = shape(name)
        if len(found) != dimensions:
            raise WeightsError(f"{name!r} has {len(found)} dimensions, not {dimensions}", misshapen=[name])
        return found

    if "emb.weight" in names and "blocks.0.att.key.weight" in names:
        return _rwkv(names, sized)
    if "backbone.embedding.weight" in names and "backbone.layers.0.mixer.A_log" in names:
        return _mamba(names, said, sized)
    return None


def _rwkv(names: list[str], shape: _Shape) -> Original:
    for sign, build in _RWKV.items():
        if f"blocks.0.att.{sign}" in names:
            return build(names, shape)
    raise UnknownArchitecture("RWKV-5 or another RWKV", ["RwkvForCausalLM", "Rwkv6ForCausalLM", "Rwkv7ForCausalLM"])


_MIXED: Final[_Renamed] = (
    (r"^emb\.", "rwkv.embeddings."),
    (r"^ln_out\.", "rwkv.ln_out."),
    (r"^blocks\.0\.ln0\.", "rwkv.blocks.0.pre_ln."),
    (r"^blocks\.(\d+)\.att\.", r"rwkv.blocks.\1.attention."),
    (r"^blocks\.(\d+)\.ffn\.", r"rwkv.blocks.\1.feed_forward."),
    (r"^blocks\.", "rwkv.blocks."),
)
_FOURTH: Final[_Renamed] = (
    (r"\.time_mix_k$", ".time_mix_key"),
    (r"\.time_mix_v$", ".time_mix_value"),
    (r"\.time_mix_r$", ".time_mix_receptance"),
)
_SEVENTH: Final[_Renamed] = (
    (r"^emb\.", "model.embeddings."),
    (r"^ln_out\.", "model.norm."),
    (r"^head\.", "lm_head."),
    (r"^blocks\.0\.ln0\.", "model.layers.0.pre_norm."),
    (r"^blocks\.(\d+)\.ln1\.", r"model.layers.\1.attn_norm."),
    (r"^blocks\.(\d+)\.ln2\.", r"model.layers.\1.ffn_norm."),
    (r"^blocks\.(\d+)\.att\.", r"model.layers.\1.attn."),
    (r"^blocks\.(\d+)\.ffn\.", r"model.layers.\1.ffn."),
    (r"\.attn\.receptance\.", ".attn.r_proj."),
    (r"\.attn\.([kvo])(ey|alue|utput)\.", r".attn.\1_proj."),
    (r"\.attn\.ln_x\.", ".attn.g_norm."),
    (r"\.attn\.([wavg])0$", r".attn.\1_lora.lora.2.bias"),
    (r"\.attn\.([wavg])1$", r".attn.\1_lora.lora.0.weight"),
    (r"\.attn\.([wavg])2$", r".attn.\1_lora.lora.2.weight"),
)
_MAMBA: Final[_Renamed] = ((r"^backbone\.embedding\.", "backbone.embeddings."),)
_FLAT: Final = (".bias", ".k_k", ".k_a", ".ffn.x_k")


def _fourth(names: list[str], shape: _Shape) -> Original:
    wide = shape("blocks.0.att.key.weight", 2)[0]
    config = {**_sizes(names, shape), "attention_hidden_size": wide, "rescale_every": 0}
    return Original("RwkvForCausalLM", config, _by_new(names, (*_MIXED, *_FOURTH)), _as_it_is)


def _sixth(names: list[str], shape: _Shape) -> Original:
    config = {**_sizes(names, shape), "head_size": shape("blocks.0.att.time_faaaa", 2)[1]}
    return Original("Rwkv6ForCausalLM", config, _by_new(names, _MIXED), _as_it_is)


def _seventh(names: list[str], shape: _Shape) -> Original:
    config = {**_sizes(names, shape), "head_dim": shape("blocks.0.att.r_k", 2)[1]}
    return Original("RWKV7ForCausalLM", config, _by_new(names, _SEVENTH), _turned_or_flat)


_RWKV: Final = {"r_k": _seventh, "time_maa_x": _sixth, "time_mix_k": _fourth}


def _sizes(names: list[str], shape: _Shape) -> dict[str, Any]:
    vocabulary, hidden = shape("emb.weight", 2)
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": shape("blocks.0.ffn.key.weight", 2)[0],
        "num_hidden_layers": _count(names, r"blocks\.(\d+)\."),
    }


def _mamba(names: list[str], said: Mapping[str, Any], shape: _Shape) -> Original:
    first = "backbone.layers.0.mixer."
    vocabulary, hidden = shape("backbone.embedding.weight", 2)
    config = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": _count(names, r"backbone\.layers\.(\d+)\."),
        "conv_kernel": shape(f"{first}conv1d.weight", 3)[-1],
        "use_conv_bias": f"{first}conv1d.bias" in names,
        "use_bias": f"{first}in_proj.bias" in names,
        "tie_word_embeddings": said.get("tie_embeddings", True) is True,
    }
    stored = _by_new(names, _MAMBA)
    if f"{first}x_proj.weight" in names:
        inner, state = shape(f"{first}A_log", 2)
        rank = shape(f"{first}dt_proj.weight", 2)[1]
        more = {"intermediate_size": inner, "state_size": state, "time_step_rank": rank}
        return Original("MambaForCausalLM", {**config, **more}, stored, _as_it_is)
    inner, heads = shape(f"{first}out_proj.weight", 2)[1], shape(f"{first}A_log", 1)[0]
    layer = said.get("ssm_cfg")
    groups = layer.get("ngroups", 1) if isinstance(layer, Mapping) else 1
    shared = shape(f"{first}conv1d.weight", 3)[0] - inner
    more = {
        "num_heads": heads,
        "head_dim": inner // max(heads, 1),
        "mamba_d_ssm": inner,
        "n_groups": groups,
        "state_size": shared // (2 * groups) if isinstance(groups, int) and groups > 0 else 0,
    }
    return Original("Mamba2ForCausalLM", {**config, **more}, stored, _as_it_is)


def _count(names: list[str], layer: str) -> int:
    found = (re.match(layer, name) for name in names)
    return 1 + max(int(each[1]) for each in found if each)


def _by_new(names: list[str], renamed: _Renamed) -> dict[str, str]:
    stored = {}
    for name in names:
        new = name
        for pattern, by in renamed:
            new = re.sub(pattern, by, new)
        stored[new] = name
    return stored


def _as_it_is(_: str, tensor: Tensor) -> Tensor:
    return tensor


def _turned_or_flat(name: str, tensor: Tensor) -> Tensor:
    if "_lora.lora." in name and name.endswith(".weight"):
        return tensor.T.contiguous()
    return tensor.flatten() if name.endswith(_FLAT) and tensor.dim() == 3 else tensor
