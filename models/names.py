"""What a checkpoint calls the tensors of a llama-like decoder: Hugging Face's names, and GGUF's for the same.

Model code speaks Hugging Face's names. A family whose names differ says so at the foot of its own file.
"""

from collections.abc import Mapping
from typing import Final

GGUF_NAMES: Final[Mapping[str, str]] = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """`model.layers.3.self_attn.q_proj.weight` -> `blk.3.attn_q.weight`; a name outside the table stays as it is."""
    stem, _, kind = name.rpartition(".")
    head, _, rest = stem.partition("model.layers.")
    if head or not rest:
        return f"{GGUF_NAMES.get(stem, stem)}.{kind}"
    number, _, inner = rest.partition(".")
    return f"blk.{number}.{GGUF_NAMES.get(inner, inner)}.{kind}"
