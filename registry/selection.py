"""Which files of a repository, or of a folder, make up one model: the weights of one format and what belongs to them.

Safetensors are taken before .bin and that before .pth, whole quantisations of GGUF with all their parts; programs
never. Only names and sizes are looked at.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from .errors import NoWeights, VariantNotFound
from .formats.sniff import Format
from .variants import label_in

COMPANIONS = frozenset(
    {
        "config.json",
        "generation_config.json",
        "hf_quant_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "tekken.json",
        "qwen.tiktoken",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "spiece.model",
        "chat_template.jinja",
        "chat_template.json",
        "preprocessor_config.json",
        "processor_config.json",
        "video_preprocessor_config.json",
    }
)
FORMAT_WORDS: dict[Format, str] = {"safetensors": "safetensors", "gguf": "GGUF", "pytorch": "PyTorch"}
LICENCES = frozenset({"license", "license.txt", "license.md", "licence", "licence.txt", "licence.md"})
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.\w+)")
_PREFERRED = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "Q4")
_NOT_THE_MODEL = re.compile(r"mmproj|imatrix|adapter|lora", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The names of one model's files: `weights` in order, `others` beside them. `quant` is what a GGUF's name tells."""

    format: Format
    weights: tuple[str, ...]
    others: tuple[str, ...]
    quant: str | None = None


def choose_files(
    where: str, names: Sequence[str], quant: str | None = None, pattern: str | None = None, *, one_gguf: bool = False
) -> Chosen:
    """The files of the model at `where`. `quant` asks for a GGUF, `pattern` says how its file is called.

    With `one_gguf` several GGUF models side by side are an error: nobody knows which is meant. Raises `NoWeights`, or
    `VariantNotFound` with what there is instead.
    """
    if quant is None and (found := _safetensors(where, names) or _pytorch(where, names)):
        return found
    groups = _gguf_groups(names, pattern)
    if not groups:
        raise _nothing(where, names, quant)
    if one_gguf and len(groups) > 1:
        raise NoWeights(where, f"holds {len(groups)} GGUF models: name one file, such as {groups[0][1][0]}")
    label = _chosen_label(where, [label for label, _ in groups], quant)
    parts = next(parts for one, parts in groups if one == label)
    return Chosen("gguf", _whole(where, parts), _beside(names, LICENCES), label)


def choose_file(where: str, name: str, names: Sequence[str]) -> Chosen:
    """The model that the weight file `name` is, or is a part of; `names` are all those of its folder."""
    part = _PART.fullmatch(name)
    family = [one for one in names if part and _same_family(part, one)]
    weights = _whole(where, family) if part else (name,)
    if name.lower().endswith(".gguf"):
        return Chosen("gguf", weights, (), label_in(name))
    kind: Format = "safetensors" if name.lower().endswith(".safetensors") else "pytorch"
    index = (f"{part['stem']}{part['suffix']}.index.json",) if part else ()
    return Chosen(kind, weights, (*_beside(names, COMPANIONS | LICENCES), *(one for one in index if one in names)))


def _same_family(part: re.Match[str], name: str) -> bool:
    other = _PART.fullmatch(name)
    return other is not None and other.group("stem", "count", "suffix") == part.group("stem", "count", "suffix")


def _safetensors(where: str, names: Sequence[str]) -> Chosen | None:
    return _plain(where, names, "safetensors", "model", ".safetensors")


def _pytorch(where: str, names: Sequence[str]) -> Chosen | None:
    bins = _plain(where, names, "pytorch", "pytorch_model", ".bin")
    return bins or _plain(where, names, "pytorch", "model", ".pth")


def _plain(where: str, names: Sequence[str], kind: Format, stem: str, suffix: str) -> Chosen | None:
    """One file called `stem`, or its numbered parts; else the only file, or set of parts, with that suffix."""
    weights = _of_suffix(names, suffix)
    groups: dict[str, list[str]] = {}
    for name in weights:
        part = _PART.fullmatch(name)
        groups.setdefault(part["stem"] if part else name.removesuffix(suffix), []).append(name)
    parts = groups.get(stem) or (next(iter(groups.values())) if len(groups) == 1 else None)
    if not parts:
        return None
    single = [name for name in parts if not _PART.fullmatch(name)]
    taken = tuple(single) if single else _whole(where, parts)
    index = () if single else tuple(name for name in names if name == f"{stem}{suffix}.index.json")
    return Chosen(kind, taken, (*_beside(names, COMPANIONS | LICENCES), *index))


def _of_suffix(names: Sequence[str], suffix: str) -> list[str]:
    return [name for name in names if name.endswith(suffix) and "/" not in name and not _NOT_THE_MODEL.search(name)]


def _gguf_groups(names: Iterable[str], pattern: str | None) -> list[tuple[str | None, list[str]]]:
    """The GGUF files by quantisation; the parts of one belong together."""
    files = [name for name in names if name.lower().endswith(".gguf")]
    files = [name for name in files if not _NOT_THE_MODEL.search(PurePosixPath(name).name)]
    called = _called(pattern)
    if called and (matching := [name for name in files if called.fullmatch(_stem(name))]):
        files = matching
    groups: dict[str, tuple[str | None, list[str]]] = {}
    for name in sorted(files):
        groups.setdefault(_stem(name).lower(), (label_in(name), []))[1].append(name)
    return list(groups.values())


def _called(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    before, _, after = pattern.removesuffix(".gguf").partition("{quant}")
    return re.compile(f"{re.escape(before)}.+{re.escape(after)}", re.IGNORECASE)


def _stem(name: str) -> str:
    """The file's name without its folder, part number and suffix."""
    base = PurePosixPath(name).name
    part = _PART.fullmatch(base)
    return part["stem"] if part else base.rsplit(".", 1)[0]


def _chosen_label(where: str, labels: Sequence[str | None], quant: str | None) -> str | None:
    if quant is not None:
        if quant in labels:
            return quant
        raise VariantNotFound(where, quant, [label for label in labels if label])
    preferred = [label for label in _PREFERRED if label in labels]
    four_bits = [label for label in labels if label and "Q4" in label]
    return (*preferred, *four_bits, *labels)[0]


def _whole(where: str, parts: Sequence[str]) -> tuple[str, ...]:
    """The parts in order. Raises `NoWeights` where one is missing."""
    found = [(part, name) for name in parts if (part := _PART.fullmatch(PurePosixPath(name).name))]
    if not found:
        return tuple(sorted(parts)[:1])
    count = int(found[0][0]["count"])
    numbered = {int(part["number"]): name for part, name in found if int(part["count"]) == count}
    missing = [str(number) for number in range(1, count + 1) if number not in numbered]
    if missing or not count:
        raise NoWeights(where, f"of {count} parts of the weights, number {', '.join(missing[:5])} is missing")
    return tuple(numbered[number] for number in range(1, count + 1))


def _beside(names: Sequence[str], wanted: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name.lower() in wanted)


def _nothing(where: str, names: Sequence[str], quant: str | None) -> NoWeights | VariantNotFound:
    if quant is not None and any(name.endswith((".safetensors", ".bin")) for name in names):
        return VariantNotFound(where, quant, ["the original weights only"])
    several = sorted(name for suffix in (".safetensors", ".bin", ".pth") for name in _of_suffix(names, suffix))
    if quant is None and len(several) > 1:
        shown = f"{several[0]} and {several[1]}"
        return NoWeights(where, f"holds {len(several)} files of weights that are not one model's, {shown}: name one")
    return NoWeights(where, "holds no weights: no .safetensors, .gguf, pytorch_model*.bin or .pth")
