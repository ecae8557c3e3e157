"""A decoder of `transformers`: its class computes, our engine runs it.

Only classes that are part of that package are taken, by the name that a model's config.json gives; code that lies
beside weights is never run. Weights come through our own loaders, names and layouts are the package's affair.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, ClassVar, Final, Self

from torch import Tensor, nn

from ..config import LONGEST, Keys, ModelConfig, refuse_quantized
from ..contract import Batch, CacheSpec, Loadable, Placement, Weight, WeightLoader
from ..errors import BorrowingError, ConfigError
from ..parts.checkpoint import refuse_others
from .alone import Alone
from .paged import Paged
from .trial import Trial

CONTEXT_KEYS: Final = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
UNSAID: Final = 1 << 15  # a context of a config that names none
_TOLD: Final = ("missing_keys", "mismatched_keys", "unexpected_keys")
_FLOATS: Final = ("Infinity", "-Infinity", "NaN")
_UNHEARD: Final = ("auto_map", "attn_implementation", "dtype", "torch_dtype", "experts_implementation")


@dataclass(frozen=True, slots=True, kw_only=True)
class BorrowedConfig(ModelConfig):
    """`theirs` is the package's own config, of the class that it calls `name`."""

    name: str
    theirs: Any

    @classmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        read = Keys(keys)
        refuse_quantized(read)
        name, theirs = keys["architectures"][0], _their_config(keys)
        text = theirs.get_text_config()
        if text is not theirs:
            raise BorrowingError(name, "it computes more than text")
        contexts = [getattr(theirs, key, None) for key in CONTEXT_KEYS]
        known = [length for length in contexts if isinstance(length, int) and 0 < length <= LONGEST]
        return cls(context=(known or [UNSAID])[0], vocabulary=theirs.vocab_size, name=name, theirs=theirs)

    @classmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:  # noqa: ARG003
        raise ConfigError("general.architecture", "transformers computes no GGUF files here")


def _their_config(keys: Mapping[str, Any]) -> Any:
    """The package's config, without what would have it fetch or run anything."""
    kinds = import_module("transformers").CONFIG_MAPPING
    kind = keys.get("model_type")
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigError("model_type", f"{kind!r} is not one that transformers knows")
    heard = {key: _plain(value) for key, value in keys.items() if not key.startswith("_") and key not in _UNHEARD}
    try:
        with _quietly():
            return kinds[kind].from_dict(heard)
    except Exception as error:  # a door: whatever their checks may raise is about the file's keys
        raise ConfigError(kind, f"transformers refuses its configuration: {error}") from error


def _plain(value: Any) -> Any:
    """With the numbers that JSON has no word for, which the package writes as {"__float__": "Infinity"}."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        named = value.get("__float__")
        return float(named) if named in _FLOATS else {key: _plain(each) for key, each in value.items()}
    return value


class Borrowed(Loadable):
    """A class of `transformers`, run as far as it allows. `note` says how that is."""

    Config: ClassVar[type[ModelConfig]] = BorrowedConfig

    def __init__(self, config: BorrowedConfig, place: Placement, trunk: nn.Module, head: nn.Module) -> None:
        """`head` makes scores of what `trunk` makes of tokens."""
        super().__init__()
        self.config, self.place = config, place
        self.trunk: Any = trunk
        self.head: Any = head
        self.way: Paged | Alone

    def forward(self, batch: Batch) -> Tensor:
        return self.way.hidden(batch)

    def logits(self, hidden: Tensor) -> Tensor:
        scores: Tensor = self.head(inputs_embeds=hidden[None], use_cache=False, return_dict=True).logits[0]
        return scores.float()

    def cache_spec(self) -> CacheSpec:
        return self.way.cache_spec()

    def weights(self) -> Iterator[Weight]:
        yield from self.parameters()

    @classmethod
    def load(cls, weights: WeightLoader, config: BorrowedConfig, place: Placement) -> Self:
        if place.world > 1:
            raise BorrowingError(config.name, "it cannot be divided over ranks")
        if place.quantize is not None:
            raise BorrowingError(config.name, "its weights cannot be packed as they are loaded")
        with _quietly():
            return cls._tried(_their_model(weights, config, place), config, place)

    @classmethod
    def _tried(cls, whole: Any, config: BorrowedConfig, place: Placement) -> Self:
        """`whole` with its trunk apart, and run in the first way that passes a trial against it."""
        own: str = whole.config._attn_implementation
        trial = Trial.of(lambda ids: whole(input_ids=ids, use_cache=False).logits, whole.config.vocab_size, place)
        trunk = whole.base_model
        if trunk is whole:
            raise BorrowingError(config.name, "its scores are not apart from what they are made of")
        setattr(whole, whole.base_model_prefix, _Given())
        # Steps of theirs cannot be recorded, which a model that has kernels would be asked for.
        model = cls(config, replace(place, kernels=None), trunk, whole)
        model._choose_way(trial, place, own)
        model.alone, model.note = model.way.alone, model.way.note
        return model

    def _choose_way(self, trial: Trial, place: Placement, own: str) -> None:
        """Go that way; `own` is the attention that the class takes by itself."""

        ways: tuple[Callable[[], Paged | Alone], ...] = (
            lambda: Paged(self.trunk, place.kernels),
            lambda: Alone(self.trunk, self.config.context, own, goes_on=True),
            lambda: Alone(self.trunk, self.config.context, own, goes_on=False),
        )
        why = ""
        for make in ways:
            try:
                self.way = make()
                if trial.is_passed(self.cache_spec(), lambda batch: self.logits(self(batch))):
                    return
                why = "computed in steps, a text has other scores than as a whole"
            except Exception as error:  # a door: a class may fail in any manner where it is asked for what it cannot do
                why = f"{type(error).__name__}: {error}"
        raise BorrowingError(self.config.name, why)


class _Given(nn.Module):
    """Stands where a class has its trunk, so that it makes scores of states that are there already."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> "_Outputs":
        return _Outputs(inputs_embeds)


class _Outputs:
    """What a trunk gives back: its states, and nothing under any other name."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getattr__(self, name: str) -> None:
        return None

    def __getitem__(self, place: int | slice) -> Any:
        return (self.last_hidden_state,)[place]


def _their_model(weights: WeightLoader, config: BorrowedConfig, place: Placement) -> Any:
    """Raises `WeightsError` unless the class takes every tensor, and has all that it needs."""
    family = getattr(import_module("transformers"), config.name)
    _teach_shapes()
    tensors = {name: weights.load_tensor(name) for name in weights.tensor_names()}
    if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise BorrowingError(config.name, "its weights are packed")
    model, told = family.from_pretrained(
        None, config=config.theirs, state_dict=tensors, dtype=place.dtype, output_loading_info=True
    )
    refuse_others(config.name, *(sorted(map(str, told[key])) for key in _TOLD))
    return model.to(place.device).requires_grad_(False).eval()


def _teach_shapes() -> None:
    """Have torch know the shapes of results without computing any: their classes are made so, and our own processes
    import torch without that. Asking for anything of the module brings it.
    """
    _ = import_module("torch._meta_registrations").activate_meta


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the package's own bars and reports: what they say is said in errors."""
    logging = import_module("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
