"""From a name or a folder to the parts of an engine: the model on its device, its tokenizer, template and defaults."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..models.contract import Model, Placement
from ..models.ops.cpu.kernels import Kernels
from ..registry.events import Listener, Notice, nobody
from ..registry.files import Message, ModelFiles
from ..registry.locate import locate
from ..registry.settings import RegistrySettings
from .device import choose_dtype, find_device, use_threads
from .errors import DraftMismatch
from .options import EngineOptions
from .text.defaults import end_token_ids, generation_defaults
from .text.template import ChatTemplate
from .text.tokenizer import Tokenizer, load_tokenizer
from .weights.load import build_model, open_weights
from .weights.sized import SizedLoader

_SAFER = "safetensors hold no program at all: prefer them where the model has them"


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What an engine is made of, loaded. `tokenizer` and `template` are None where the files hold none.

    `context`, `system` and `messages` are what the model's own recipe (its Modelfile) says of them. `again` reads the
    same weights once more.
    """

    name: str
    model: Model
    tokenizer: Tokenizer | None = None
    template: ChatTemplate | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    ends: Collection[int] = ()
    context: int | None = None
    system: str | None = None
    messages: tuple[Message, ...] = ()
    again: Callable[[], Model] | None = None


def load_parts(model: str | Path | ModelFiles, options: EngineOptions, listener: Listener | None) -> Parts:
    """Find the files, fetching them where they are missing, and load what is in them."""
    device = find_device(options.device)
    files = model if isinstance(model, ModelFiles) else _locate(model, listener)
    if files.format == "pytorch" and listener:
        listener(Notice(f"{files.name}: its weights are a pickle, read with torch's restricted unpickler; {_SAFER}"))
    weights = open_weights(files)
    place = _place(weights, options, device)
    tokenizer = load_tokenizer(files)
    if tokenizer is not None and tokenizer.note and listener:
        listener(Notice(f"{files.name}: {tokenizer.note}"))
    template = ChatTemplate.find(files)
    parts = Parts(
        name=files.name,
        model=build_model(weights, place, files.name, quantize=options.quantize),
        tokenizer=tokenizer,
        template=template,
        defaults=generation_defaults(files),
        ends=end_token_ids(files, tokenizer, template),
        context=files.parameters.get("context"),
        system=files.system,
        messages=files.messages,
        again=lambda: _again(files, options, device),
    )
    if parts.model.note and listener:
        listener(Notice(f"{files.name}: {parts.model.note}"))
    files.check_unchanged()
    return parts


def _place(weights: SizedLoader, options: EngineOptions, device: torch.device) -> Placement:
    kernels = Kernels.open(use_threads(options.threads), exact=options.exact) if device.type == "cpu" else None
    stored = None if options.quantize else weights.stored_dtype
    return Placement(device, choose_dtype(options.dtype, stored, device), kernels=kernels)


def _again(files: ModelFiles, options: EngineOptions, device: torch.device) -> Model:
    """The weights once more, where nobody has touched their files."""
    weights = open_weights(files)
    model = build_model(weights, _place(weights, options, device), files.name, quantize=options.quantize)
    files.check_unchanged()
    return model


def load_draft(parts: Parts, options: EngineOptions, listener: Listener | None) -> Parts | None:
    """The model that guesses ahead of that of `parts`, where `options` name one; `DraftMismatch` where it cannot."""
    if options.draft_model is None:
        return None
    draft = load_parts(options.draft_model, options, listener)
    difference = vocabulary_difference(parts, draft)
    if difference is not None:
        raise DraftMismatch(draft.name, parts.name, difference)
    return draft


def vocabulary_difference(parts: Parts, draft: Parts) -> str | None:
    """Where two models mean different tokens by one id; None where they do not."""
    if parts.tokenizer is None or draft.tokenizer is None:
        sizes = parts.model.config.vocabulary, draft.model.config.vocabulary
        return None if sizes[0] == sizes[1] else f"one has {sizes[0]} tokens, the draft has {sizes[1]}"
    for token, (ours, theirs) in enumerate(zip(parts.tokenizer.tokens, draft.tokenizer.tokens, strict=False)):
        if ours != theirs:
            return f"token {token} is {ours!r}, in the draft {theirs!r}"
    return None


def _locate(model: str | Path, listener: Listener | None) -> ModelFiles:
    """A `Path` is always a path; text may be one or a name, as the registry reads it."""
    settings = RegistrySettings.from_environment(os.environ)
    text = str(model.absolute()) if isinstance(model, Path) else model
    return locate(text, settings, listener or nobody)
