"""/v1/embeddings: a vector of length one for each input, as numbers or packed."""

import math
import struct
from base64 import b64encode
from collections.abc import Sequence

from ..endpoint import invalid
from .asking import prompts
from .results import Embedding, Embeddings, EmbeddingUsage
from .types import EmbeddingBody

MOST_INPUTS = 2048


def inputs(body: EmbeddingBody) -> list[str | list[int]]:
    """What is to be embedded. Raises `Refused`."""
    given = prompts(body.input, "input")
    if len(given) > MOST_INPUTS:
        raise invalid("input", f"input has {len(given)} entries; it may have {MOST_INPUTS}")
    if "" in given:
        raise invalid("input", "input has an empty text")
    return given


def embeddings(body: EmbeddingBody, made: Sequence[tuple[list[float], int]]) -> Embeddings:
    """The vectors and their tokens' counts in words. Raises `Refused` where they are shorter than was asked."""
    dimensions = len(made[0][0]) if body.dimensions is None else body.dimensions
    if dimensions > len(made[0][0]):
        raise invalid("dimensions", f"dimensions is {dimensions}; {body.model} has {len(made[0][0])}")
    vectors = [unit(vector[:dimensions]) for vector, _ in made]
    tokens = sum(count for _, count in made)
    told = [packed(vector) if body.encoding_format == "base64" else vector for vector in vectors]
    data = [Embedding(index=index, embedding=vector) for index, vector in enumerate(told)]
    return Embeddings(data=data, model=body.model, usage=EmbeddingUsage(tokens, tokens))


def unit(vector: Sequence[float]) -> list[float]:
    """The same direction at length one; nothing points nowhere."""
    length = math.hypot(*vector)
    return [value / length for value in vector] if length else list(vector)


def packed(vector: Sequence[float]) -> str:
    """As 32-bit floats, little end first, in base64."""
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
