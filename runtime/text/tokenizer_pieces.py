"""How the tokens of a tokenizer.json spell bytes, read off its decoder.

Decoders are chains of steps that may do anything to text. Those that all generating models use come to "the bytes of
the tokens, one behind the other"; they are recognised here. Any other is left to the `tokenizers` package.
"""

from collections.abc import Collection, Sequence

from .pieces import SPACE_MARK, Pieces, spelt_in_letters, spelt_with_marks


def pieces_of(decoder: object, tokens: Sequence[str], added: Collection[int]) -> Pieces | None:
    """The bytes of each token, or None for a decoder that is not simply their sum. `added` are plain text."""
    steps = _steps(decoder)
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return Pieces(spelt_in_letters(tokens, added))
    if kinds == ["Metaspace"] and steps[0].get("replacement", SPACE_MARK) == SPACE_MARK:
        return Pieces(spelt_with_marks(tokens, range(len(tokens))), leading=int(_prefixes(steps[0])))
    if kinds[:3] != ["Replace", "ByteFallback", "Fuse"] or not _replaces_mark(steps[0]):
        return None
    leading = _stripped(steps[3:])
    return None if leading is None else Pieces(spelt_with_marks(tokens, added), leading)


def _steps(decoder: object) -> list[dict[str, object]]:
    """The steps of a decoder, those of a sequence in order."""
    if not isinstance(decoder, dict):
        return []
    if decoder.get("type") != "Sequence":
        return [decoder]
    inner = decoder.get("decoders")
    return [step for one in inner for step in _steps(one)] if isinstance(inner, list) else []


def _prefixes(metaspace: dict[str, object]) -> bool:
    return metaspace.get("prepend_scheme", "always") != "never" and metaspace.get("add_prefix_space", True) is True


def _replaces_mark(step: dict[str, object]) -> bool:
    return step.get("pattern") == {"String": SPACE_MARK} and step.get("content") == " "


def _stripped(steps: list[dict[str, object]]) -> int | None:
    """How many spaces are taken from the start of the whole text, or None if anything else is done to it."""
    if not steps:
        return 0
    step, start = steps[0], steps[0].get("start")
    plain = len(steps) == 1 and step.get("type") == "Strip" and step.get("content") == " " and step.get("stop") == 0
    return start if plain and isinstance(start, int) and 0 <= start <= 16 else None
