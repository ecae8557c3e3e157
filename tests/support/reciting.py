"""A model that says what it was made to say: a whole model as others are, for what no model of a few kilobytes can do.

It attends to nothing. Each of its tokens has one that follows it, so that the last token of a prompt decides all that
is said; the template decides which token that is.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from .talking import talking_model

# Tools are offered and called as Qwen's models know it, and it thinks where it is told to.
RECITING = (
    '{% if tools %}<|system|>{{ tools|tojson }} Answer <tool_call>\n{"name": <name>, "arguments": <object>}\n'
    "</tool_call></s>{% endif %}"
    "{% for message in messages %}<|{{ 'user' if message.role == 'tool' else message.role }}|>"
    "{{ message.content or '' }}{% for call in message.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments|tojson }}}\n</tool_call>'
    "{% endfor %}</s>{% endfor %}<|assistant|>{% if tools %}<|calls|>{% elif enable_thinking %}<think>{% endif %}"
)
PLAIN, CALLS, THINKS = "<|assistant|>", "<|calls|>", "<think>"  # what a prompt ends with


def reciting_model(folder: Path, scripts: Mapping[str, Sequence[str]], *, context: int = 32768) -> Path:
    """`folder`, with such a model in it: behind PLAIN, CALLS or THINKS it says those pieces of `scripts`, a token each,
    and ends. No piece may be there twice.
    """
    talking_model(folder, template=RECITING)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    for mark in (CALLS, THINKS):
        place = vocabulary[mark] = len(vocabulary)
        tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": place, "content": mark})
    follows = dict[int, int]()
    for cue, pieces in scripts.items():
        said = [vocabulary[cue], *(_added(piece, vocabulary) for piece in pieces), vocabulary["</s>"]]
        follows |= dict(pairwise(said))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    _weights(folder, len(vocabulary), follows, context)
    return folder


def _added(piece: str, vocabulary: dict[str, int]) -> int:
    """The number of a token that is said, but never read: nothing merges to it."""
    ((spelled, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(piece)
    if spelled in vocabulary:
        raise ValueError(f"{piece!r} is a token already")
    return vocabulary.setdefault(spelled, len(vocabulary))


def _weights(folder: Path, vocabulary: int, follows: Mapping[int, int], context: int) -> None:
    config = LlamaConfig.from_pretrained(folder)
    config.vocab_size, config.max_position_embeddings = vocabulary, context
    config.hidden_size = -(-vocabulary // 64) * 64
    config.head_dim = config.hidden_size // config.num_attention_heads
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight.fill_diagonal_(1.0)
        for token in range(vocabulary):
            model.lm_head.weight[follows.get(token, 1), token] = 10.0
    model.save_pretrained(folder)
