"""unillm-internals(7): how the program is built, for whoever wants to read it or to change it."""

from pathlib import Path

from . import diagrams
from .roff import head, paragraph, section, verbatim

_FLOORS = (
    "The repository is the package: the path of a file is its import path. Four folders stand on three floors, and "
    "imports run down only. unillm_cli is the door for people and loads no torch. runtime is tokens in time: the "
    "engine, its scheduler and cache. models is mathematics and knows neither text nor requests. registry is names and "
    "files, and has no torch at all.",
)
_PROMPT = (
    "A command asks the registry for a model's name and gets files. The engine is made of them once; prompts become "
    "requests and stand in line. There is no thread behind it: whoever waits for an answer turns the wheel, for all.",
    "A turn is one step. The scheduler picks chunks of prompts and a token of everyone who answers, under one budget. "
    "The runner makes tensors of that, the model scores of those, the sampler tokens of these.",
)
_CACHE = (
    "Keys and values lie in pages. A page belongs to one sequence, to the prefix cache or to the free list, and the "
    "three always add up to all pages. A prompt that begins as an earlier one did finds its pages computed. When there "
    "are no pages left, those that nobody uses are taken back, least recently used first; then the youngest sequence "
    "gives way and comes back before all that came later.",
)
_WEIGHTS = (
    "Weights are views of mapped files, and stay in the type they are stored in. Packed blocks are multiplied as they "
    "are by the kernels in models/ops/cpu, or unpacked row by row by plain torch, which is always there and is what "
    "every kernel is tested against.",
)
_TO_ADD = (
    "An architecture is three places: its file in models, a line in models/table.py, a row in tests/models/zoo.py. A "
    "command is three: its file in unillm_cli/commands, a line in unillm_cli/app.py, its tests; completions and pages "
    "are made of that. An alias is one line in registry/aliases.toml. CONTRIBUTING.md has the rest.",
)


def page(root: Path) -> str:
    """The page; `root` is the folder of the source that the diagrams are drawn from."""
    return "".join(
        [
            head("unillm-internals", "how the program is built", 7),
            section("FLOORS", _text(_FLOORS)),
            section(
                "MODULES", _text(("In Mermaid's language; an arrow is an import.",)) + verbatim(diagrams.modules(root))
            ),
            section("THE LIFE OF A PROMPT", _text(_PROMPT) + verbatim(diagrams.request())),
            section("THE CACHE", _text(_CACHE)),
            section("WEIGHTS", _text(_WEIGHTS)),
            section("TO ADD SOMETHING", _text(_TO_ADD)),
            section("SEE ALSO", ".BR unillm (1)\n"),
        ]
    )


def _text(paragraphs: tuple[str, ...]) -> str:
    return "".join(map(paragraph, paragraphs))
