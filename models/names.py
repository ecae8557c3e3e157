"""What a checkpoint calls the tensors of a llama-like decoder: Hugging Face's names, and GGUF's for the same.

Model code speaks Hugging Face's names. A family whose names differ says so at the foot of its own file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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

# Matrices that some families store as one.
_STACKED: Final = {"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"}

_EXPERTS: Final = {
    "mlp.gate": "ffn_gate_inp",
    "mlp.experts.gate_proj": "ffn_gate_exps",
    "mlp.experts.up_proj": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
}


@dataclass(frozen=True, slots=True)
class Names:
    """What a file calls tensors: a stem for each of the model's, with layers numbered under `layers`; of some in a
    layer the whole name, in `tensors`.
    """

    layers: str
    stems: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, name: str) -> str:
        """`model.layers.3.self_attn.q_proj.weight` -> `blk.3.attn_q.weight`; what has no stem here stays as it is."""
        stem, _, kind = name.rpartition(".")
        head, _, rest = stem.partition("model.layers.")
        if head or not rest:
            return f"{self.stems.get(stem, stem)}.{kind}"
        number, _, inner = rest.partition(".")
        whole = self.tensors.get(f"{inner}.{kind}") or f"{self.stems.get(inner, inner)}.{kind}"
        return f"{self.layers}.{number}.{whole}"

    def moved(self, old: str, new: str) -> Callable[[str], str]:
        """The same, where names begin with `new` instead of `old`."""

        def name_of(name: str) -> str:
            found = self(name)
            return new + found.removeprefix(old) if found.startswith(old) else found

        return name_of

    def but(self, stems: Mapping[str, str], tensors: Mapping[str, str] | None = None) -> "Names":
        """The same, with other stems for some, and other names."""
        return Names(self.layers, {**self.stems, **stems}, {**self.tensors, **(tensors or {})})


gguf_name: Final = Names("blk", {**GGUF_NAMES, **_STACKED, **_EXPERTS})
