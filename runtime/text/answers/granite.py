"""Granite 3: `<|tool_call|>` and a list of JSON that ends with the answer. Granite 4 writes as Hermes does."""

from .lists import list_style

GRANITE = list_style("<|tool_call|>", "<|tool_call|>", None)
