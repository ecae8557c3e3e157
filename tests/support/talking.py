"""A model of a few kilobytes that reads and writes text: random weights, a tokenizer of bytes, a chat template.

What it says means nothing, but it is a whole model: everything that is done with a real one can be done with it.
"""

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

SPECIAL = ("<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

# As Llama 3.2 has it: tools are offered, a call is JSON and nothing else; and it can be told to think.
CALLING = (
    "{{ bos_token }}{% if tools %}<|system|>{{ tools|tojson }} Respond in the format "
    '{"name": function name, "parameters": dictionary of argument name and its value}.</s>{% endif %}'
    "{% for message in messages %}<|{{ message.role }}|>"
    "{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}"
    '{% for call in message.tool_calls or [] %}{"name": "{{ call.function.name }}", '
    '"parameters": {{ call.function.arguments|tojson }}}{% endfor %}{{ message.content }}</s>{% endfor %}'
    "{% if add_generation_prompt %}<|assistant|>{% if enable_thinking %}<think>{% endif %}{% endif %}"
)


def talking_model(
    folder: Path, *, seed: int = 0, context: int = 512, layers: int = 2, width: int = 32, template: str = TEMPLATE
) -> Path:
    """`folder`, with such a model in it. Another `seed` is another model of the same shape; one with an empty
    `template` cannot converse.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {**{name: i for i, name in enumerate(SPECIAL)}, **_bytes(len(SPECIAL))}
    _weights(folder, len(vocabulary), seed, context, layers, width)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", **({"chat_template": template} if template else {})}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def _bytes(first: int) -> dict[str, int]:
    return {letter: first + i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}


def _weights(folder: Path, vocabulary: int, seed: int, context: int, layers: int, width: int) -> None:
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
