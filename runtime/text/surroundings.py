"""What a tokenizer.json puts in front of a prompt and behind it: BOS in most, EOS in a few.

Its post-processor says so. tokenizer_config.json's `add_bos_token` has no say beside a tokenizer.json, as in
`transformers`. Knows JSON only.
"""

from collections.abc import Mapping

from .errors import TokenizerFault
from .tokenizer_checks import MAX_AROUND


def around(processor: object, ids: Mapping[str, int], source: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids before a text, and those after it."""
    before, after = _stated(processor)
    return _as_ids(before, ids, source), _as_ids(after, ids, source)


def _stated(processor: object) -> tuple[list[str], list[str]]:
    if not isinstance(processor, dict):
        return [], []
    if processor.get("type") == "Sequence":
        before, after = list[str](), list[str]()
        for step in processor.get("processors") or ():
            first, last = _stated(step)
            before, after = first + before, after + last
        return before, after
    if processor.get("type") in ("BertProcessing", "RobertaProcessing"):
        return [_name(processor.get("cls"))], [_name(processor.get("sep"))]
    return _template(processor.get("single"))


def _template(single: object) -> tuple[list[str], list[str]]:
    before, after = list[str](), list[str]()
    behind = False
    for piece in single if isinstance(single, list) else ():
        if isinstance(piece, dict) and "Sequence" in piece:
            behind = True
        elif isinstance(piece, dict) and isinstance(piece.get("SpecialToken"), dict):
            (after if behind else before).append(str(piece["SpecialToken"].get("id")))
    return before, after


def _name(pair: object) -> str:
    return str(pair[0]) if isinstance(pair, list) and pair else ""


def _as_ids(names: list[str], ids: Mapping[str, int], source: str) -> tuple[int, ...]:
    for name in names:
        if name not in ids:
            raise TokenizerFault(source, "post_processor", f"adds {name!r}, which is no token")
    if len(names) > MAX_AROUND:
        raise TokenizerFault(source, "post_processor", f"adds {len(names)} tokens, more than {MAX_AROUND}")
    return tuple(ids[name] for name in names)
