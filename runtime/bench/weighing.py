"""What a token costs, from a file's header: the bytes that are read for it, and the numbers it is multiplied with."""

from collections.abc import Sequence
from pathlib import Path

from ...registry.formats.gguf import read_gguf


def weigh(files: Sequence[Path]) -> tuple[int, int]:
    """Of one token of an answer all weights are read once, but for a table of tokens that is not the head as well. A
    token of a prompt is multiplied with every matrix but the head's.
    """
    tensors = read_gguf(files, vocabulary=False).tensors
    looked_up = "token_embd.weight" if "output.weight" in tensors else None
    read = sum(one.nbytes for name, one in tensors.items() if name != looked_up)
    inner = (one for name, one in tensors.items() if name not in ("token_embd.weight", "output.weight"))
    return read, sum(one.num_elements for one in inner if len(one.shape) > 1)
