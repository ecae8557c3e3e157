"""What a tokenizer.json puts in front of a prompt and behind it: BOS in most, EOS in a few.

A post-processor says it as a template; tokenizer_config.json's `add_bos_token` and `add_eos_token`, where there is
either, say it instead. Knows JSON only.
"""

from collections.abc import Mapping
from typing import Protocol

from .errors import TokenizerFault
from .tokenizer_checks import MAX_AROUND


class Settings(Protocol):
    """What of the configuration counts here."""

    @property
    def roles(self) -> Mapping[str, str]: ...
    @property
    def add_bos(self) -> bool | None: ...
    @property
    def add_eos(self) -> bool | None: ...


def around(
    processor: object, settings: Settings, ids: Mapping[str, int], source: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids before a text, and those after it."""
    if settings.add_bos is None and settings.add_eos is None:
        before, after = _stated(processor)
    else:
        before = [settings.roles["bos_token"]] if settings.add_bos and "bos_token" in settings.roles else []
        after = [settings.roles["eos_token"]] if settings.add_eos and "eos_token" in settings.roles else []
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
