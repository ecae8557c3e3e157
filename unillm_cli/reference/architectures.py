"""unillm-models(7) and README's table: which architectures run, as models/table.py lists them."""

from collections.abc import Iterable
from typing import Final

from ...models.borrowed.names import EXTRA, NAMES
from ...models.families import FAMILIES, Family
from ...models.table import Architecture, architectures
from .roff import head, item, paragraph, section

BEGIN: Final = "<!-- models: written by `make docs` -->"
END: Final = "<!-- models end -->"

_INTRODUCTION: Final = (
    "Files say which architecture they hold: in config.json those of safetensors and PyTorch, in a key those of GGUF. "
    "Any model whose files name one of these runs, whoever made it; where config.json has a name of its own for a "
    "decoder of text, its model_type counts. A name that is not here is refused, with the names that are near.",
    "All computing is checked against code that others wrote, on tiny models of random weights, however a text is cut "
    "and batched; what each is held to stands in its line.",
)
_CACHES: Final = (
    ("pages", "Keys and values of every token."),
    ("windows", "Those of the last tokens alone, in some layers or in all that attend."),
    ("chunks", "Those of the current stretch of some length, in some layers."),
    ("latents", "One vector of every token, from which all heads take keys and values."),
    ("states", "Numbers of a fixed count for each sequence, however long it is."),
)
_PACKED: Final = (
    ("GPTQ", "2, 3, 4 and 8 bits, both versions, inputs in any order; AutoRound's files of this layout too."),
    ("AWQ", "4 bits, as AutoAWQ writes them for its gemm; AutoRound's files of this layout too."),
    (
        "FP8",
        "Scales of blocks, of rows, or one; as DeepSeek, FBGEMM and others write it, stacked experts as transformers "
        "does too.",
    ),
    ("Model Optimizer", "FP8 and NVFP4, also where only its own file hf_quant_config.json says so."),
    ("bitsandbytes", "nf4 and fp4, nested or not, and LLM.int8."),
    ("compressed-tensors", "Words of 4 and 8 bits, int8, fp8, MXFP4 and NVFP4. Not there: sparse layouts."),
    ("MXFP4", "The experts of gpt-oss."),
)
_KEPT: Final = (
    "Matrices in safetensors stay packed. Whole numbers of up to 4 bits, and of 8 bits with zeros in the middle, "
    "become blocks that the CPU kernels take, where these hold the same numbers exactly; so do FP8 in rows, blocks of "
    "128 columns or whole, nf4 and fp4 in blocks of 64, and NVFP4, of which all but the last are multiplied in fp32. "
    "Inputs in another order are sorted. All else is unpacked a tile at a time in every step, which is slower: groups "
    "of other sizes, scales that half precision does not hold. What a file says of activations and of the cache is "
    "passed by. Ranks divide matrices at the borders of groups.",
)

_BORROWED: Final = (
    f"Where {EXTRA} is installed, classes of transformers compute further decoders of text, from safetensors and "
    "PyTorch files of plain weights. Where a class takes a function for its attention, ours serves it over the cache, "
    "and many texts run at once; else one text runs at a time, in the class's own cache, or each token from the "
    "beginning of its text where that cache does not give what the whole text gives. A notice says which as the model "
    "is loaded. Code that lies beside weights is never run. Each class is held to itself on two short texts whenever "
    "it is loaded, and refused where it differs. Not there: GGUF, packed weights, several ranks.",
    f"Those that passed on tiny models of random weights: {', '.join(sorted(NAMES, key=str.lower))}.",
)


def page() -> str:
    return "".join(
        [
            head("unillm-models", "the architectures that run", 7),
            section("DESCRIPTION", "".join(map(paragraph, _INTRODUCTION))),
            section("WHAT IS KEPT OF A SEQUENCE", "".join(_items(_CACHES))),
            section("WEIGHTS THAT OTHER TOOLS HAVE PACKED", "".join([*map(paragraph, _KEPT), *_items(_PACKED)])),
            section("ARCHITECTURES", "".join(item(family.title, _told(family, names)) for family, names in _listed())),
            section("BY TRANSFORMERS", "".join(map(paragraph, _BORROWED))),
            section("SEE ALSO", ".BR unillm (1),\n.BR unillm-show (1)\n"),
        ]
    )


def _items(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [item(name, text) for name, text in pairs]


def table() -> str:
    """In Markdown."""
    lines = ["| models | names in files | kept | held to | not there |", "|---|---|---|---|---|"]
    for family, names in _listed():
        said = ", ".join(f"`{name}`" for name in _named(names))
        lines.append(f"| {family.title} | {said} | {family.cache} | {family.reference} | {family.lacking} |")
    return "\n".join(lines)


def with_table(readme: str) -> str:
    """The text with its table as it is now; as it is where it has no place for one."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{table()}\n{end}{after}" if begin and end else readme


def _listed() -> list[tuple[Family, list[Architecture]]]:
    """Each family with its names, by title."""
    rows: dict[str, list[Architecture]] = {}
    for row in architectures():
        rows.setdefault(row.family, []).append(row)
    return sorted(((FAMILIES[name], names) for name, names in rows.items()), key=lambda pair: pair[0].title.lower())


def _named(names: Iterable[Architecture]) -> list[str]:
    return sorted({one.name for one in names}, key=lambda name: (name.lower(), name))


def _told(family: Family, names: list[Architecture]) -> str:
    kinds = {kind: [one.name for one in names if kind in one.formats] for kind in ("safetensors", "gguf")}
    lines = [f"safetensors, PyTorch: {', '.join(kinds['safetensors'])}."] if kinds["safetensors"] else []
    lines += [f"GGUF: {', '.join(kinds['gguf'])}."] if kinds["gguf"] else []
    lines += [f"Keeps {family.cache}.", f"Held to {family.reference}."]
    lines += [f"Not there: {family.lacking}."] if family.lacking else []
    return " ".join(lines)
