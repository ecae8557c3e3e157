"""What the processes of a server say to each other: plain data, never pickle.

Three kinds of process talk. The front takes HTTP. A text process turns text to tokens and tokens to text, for any
number of models. An engine process computes for one model. The front asks a text process; that one submits token ids to
the engine, and tells the front in text what comes of them. The front itself asks an engine only how it is.
"""

from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec import structs

from ...registry.files import Message as SaidBefore
from ...registry.files import ModelFiles
from ...registry.formats.sniff import Format
from ..hosting.asking import Ask, Fault, Piece
from ..params import SamplingParams
from ..results import FinishReason, Timings, Usage


class Address(msgspec.Struct, frozen=True):
    """Where a process listens, and the secret that whoever connects must know."""

    path: str
    secret: bytes


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """`ModelFiles`, with paths as text."""

    name: str
    format: Format
    weights: list[str]
    files: dict[str, str]
    template: str | None
    parameters: dict[str, Any]
    system: str | None
    messages: list[SaidBefore]


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine process is started with, on its standard input. `options` are fields of `EngineOptions`."""

    address: Address
    files: Files
    options: dict[str, Any]


class TextSetup(msgspec.Struct, frozen=True):
    """What a text process is started with."""

    address: Address


class QuantizeSetup(msgspec.Struct, frozen=True):
    """What a process is started with that writes `files` to `target` in another mixture of kinds."""

    files: Files
    mixture: str
    target: str


# To an engine.


class Submit(msgspec.Struct, tag=True, frozen=True):
    """A prompt. `params` hold no stop strings: text is not the engine's business."""

    number: int
    tokens: list[int]
    params: SamplingParams
    priority: int = 0


class Abort(msgspec.Struct, tag=True, frozen=True):
    """End a request, or one answer of it. Also from the front to a text process."""

    number: int
    choice: int | None = None


class Report(msgspec.Struct, tag=True, frozen=True):
    """Say how you are."""


class Embed(msgspec.Struct, tag=True, frozen=True):
    """A vector for each list of tokens."""

    number: int
    inputs: list[list[int]]


ToEngine: TypeAlias = Submit | Abort | Report | Embed

# From an engine.


class Loaded(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """The model is there, with a context of at most `trained` tokens. Its weights hold `bytes_held`; its cache may grow
    to `cache_bytes`.
    """

    context: int
    trained: int
    vocabulary: int
    device: str
    kernels: str | None
    bytes_held: int
    cache_bytes: int
    seconds: float


class Broken(msgspec.Struct, tag=True, frozen=True):
    """The model cannot be loaded, or the engine cannot go on."""

    fault: Fault


class Logprob(msgspec.Struct, array_like=True, frozen=True):
    """A token, its logarithmic probability, and the likeliest ones beside it."""

    token: int
    logprob: float
    top: list[tuple[int, float]]


class Tokens(msgspec.Struct, array_like=True, frozen=True):
    """What is new of one answer. The last of an answer has its `finish_reason`; see `Completion` for `formed`."""

    number: int
    choice: int
    tokens: list[int]
    logprobs: list[Logprob] | None = None
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    prompt_logprobs: list[Logprob] | None = None
    fault: Fault | None = None
    formed: bool = False

    def and_then(self, new: "Tokens") -> "Tokens":
        """Both as one: `new` is of the same answer, which had not ended."""
        told = [one for one in (self.logprobs, new.logprobs) if one is not None]
        logprobs = list(chain(*told)) if told else None
        return structs.replace(new, tokens=[*self.tokens, *new.tokens], logprobs=logprobs)


class Step(msgspec.Struct, tag=True, frozen=True):
    """What steps of the engine did for whoever is on this connection, each answer once."""

    tokens: list[Tokens]


class Reported(msgspec.Struct, tag=True, frozen=True):
    """The engine's `Stats`, and for how many seconds it has had work without finishing a step."""

    stats: dict[str, Any]
    stalled: float


class Vectors(msgspec.Struct, tag=True, frozen=True):
    number: int
    vectors: list[list[float]]
    fault: Fault | None = None


FromEngine: TypeAlias = Loaded | Broken | Step | Reported | Vectors

# To a text process.


class Serve(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Answer for this model from now on, its engine being at `engine`."""

    key: str
    files: Files
    engine: Address
    context: int


class Leave(msgspec.Struct, tag=True, frozen=True):
    """The model goes: forget it, and break off what is still asked of it."""

    key: str


class Begin(msgspec.Struct, tag=True, frozen=True):
    number: int
    key: str
    ask: Ask


class Work(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """Something that needs no engine but for `embed`. `kind` is encode, decode, count, render or embed."""

    number: int
    key: str
    kind: str
    text: str = ""
    tokens: list[int] = []
    ask: Ask | None = None
    inputs: list[str | list[int]] = []
    special: bool = False
    truncate: bool = False


ToText: TypeAlias = Serve | Leave | Begin | Abort | Work

# From a text process.


class Told(msgspec.Struct, array_like=True, frozen=True):
    number: int
    piece: Piece


class Pieces(msgspec.Struct, tag=True, frozen=True):
    """What is new of several answers."""

    told: list[Told]


class Done(msgspec.Struct, tag=True, frozen=True, kw_only=True):
    """What came of some work: whatever of these its kind gives."""

    number: int
    text: str = ""
    tokens: list[int] = []
    vectors: list[list[float]] = []
    fault: Fault | None = None


class Served(msgspec.Struct, tag=True, frozen=True):
    """The model's text is ready, or why not."""

    key: str
    fault: Fault | None = None


FromText: TypeAlias = Pieces | Done | Served


# From a process that quantises.


class Written(msgspec.Struct, tag=True, frozen=True):
    """So many of so many bytes are written."""

    done: int
    total: int


FromQuantize: TypeAlias = Written | Broken


def as_text(files: ModelFiles) -> Files:
    """`ModelFiles` for another process."""
    return Files(
        name=files.name,
        format=files.format,
        weights=[str(path) for path in files.weights],
        files={key: str(path) for key, path in files.files.items()},
        template=files.template,
        parameters=dict(files.parameters),
        system=files.system,
        messages=list(files.messages),
    )


def as_files(files: Files) -> ModelFiles:
    """What came from another process, as it was there."""
    return ModelFiles(
        name=files.name,
        format=files.format,
        weights=tuple(map(Path, files.weights)),
        files={key: Path(path) for key, path in files.files.items()},
        template=files.template,
        parameters=files.parameters,
        system=files.system,
        messages=tuple(files.messages),
    )
