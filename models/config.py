"""Reading a model's hyper-parameters: config.json's keys or a GGUF's, checked before any weight is touched.

A family's config is a frozen dataclass of exactly what its forward pass needs. `Keys` reads each value by name, with
its type and its bounds; whatever is missing or impossible is a `ConfigError` that names the key as the file spells it.
Nothing here allocates by a value that it has read.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, Self, TypeAlias

from .errors import ConfigError

WIDEST: Final = 1 << 20  # hidden and intermediate sizes, heads times head_dim
MOST_TOKENS: Final = 1 << 24  # a vocabulary
LONGEST: Final = 1 << 31  # a context
MOST_LAYERS: Final = 1024
TEXT: Final = "text_config"  # the section of a text model that is a part of another

Default: TypeAlias = int | float | bool | str | None


class _Required:
    """The mark of a key that has no default."""


REQUIRED: Final = _Required()


@dataclass(frozen=True, slots=True)
class Keys:
    """A mapping from a file, read key by key. `prefix` is what error messages put before a name ("llama.").

    `spellings` says what a family's files call a key instead; of several names the first that is there counts.
    """

    values: Mapping[str, Any]
    prefix: str = ""
    spellings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def has(self, key: str) -> bool:
        return self.values.get(self._spelled(key)) is not None

    def integer(self, key: str, default: int | _Required | None = REQUIRED, *, low: int = 1, high: int) -> Any:
        """A whole number in `low..high`; a float counts where it is whole, as some writers store it."""
        value = self._get(key, default)
        if value is None:
            return None
        if isinstance(value, float) and isfinite(value) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"{_shown(value)} is not a whole number")
        if not low <= value <= high:
            raise self.error(key, f"{_shown(value)} is not in {low}..{high}")
        return value

    def count(self, key: str, default: int | _Required = REQUIRED, *, most: int) -> int:
        """A whole number of at least one."""
        number: int = self.integer(key, default, low=1, high=most)
        return number

    def window(self, key: str, absent: int | None) -> int | None:
        """How many tokens attention sees. Null says all; where the key is absent, `absent` holds."""
        default = None if self._spelled(key) in self.values else absent
        size: int | None = self.integer(key, default, high=LONGEST)
        return size

    def number(self, key: str, default: float | _Required = REQUIRED, *, low: float, high: float) -> float:
        """A finite number in `low..high`."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"{_shown(value)} is not a number")
        if not low <= value <= high:
            raise self.error(key, f"{_shown(value)} is not in {low:g}..{high:g}")
        return float(value)

    def flag(self, key: str, default: bool | _Required = REQUIRED) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"{_shown(value)} is not true or false")
        return value

    def word(self, key: str, choices: Mapping[str, str], default: str | _Required = REQUIRED) -> str:
        """One of the keys of `choices`, as its value."""
        value = self._get(key, default)
        if not isinstance(value, str) or value not in choices:
            raise self.error(key, f"{_shown(value)} is not one of {', '.join(choices)}")
        return choices[value]

    def words(self, key: str, choices: Mapping[str, str], length: int) -> tuple[str, ...]:
        """A list of `length` words, each one of `choices`."""
        value = self._list(key, length)
        for item in value:
            if not isinstance(item, str) or item not in choices:
                raise self.error(key, f"{_shown(item)} is not one of {', '.join(choices)}")
        return tuple(choices[item] for item in value)

    def numbers(self, key: str, length: int, *, low: float, high: float) -> tuple[float, ...]:
        """A list of `length` finite numbers."""
        value = self._list(key, length)
        for item in value:
            if isinstance(item, bool) or not isinstance(item, int | float) or not low <= item <= high:
                raise self.error(key, f"{_shown(item)} is not a number in {low:g}..{high:g}")
        return tuple(float(item) for item in value)

    def uniform(self, key: str, *, most: int, layers: int) -> int:
        """A count that a GGUF may state once or a layer at a time, and that must be the same in each."""
        value = self._get(key, REQUIRED)
        if not isinstance(value, list):
            return self.count(key, most=most)
        if len(value) != layers or any(item != value[0] for item in value):
            raise self.error(key, "it differs from layer to layer, which this architecture's code does not compute")
        return Keys({self.prefix + key: value[0]}, self.prefix).count(key, most=most)

    def section(self, key: str) -> "Keys | None":
        """The mapping under `key`, or None where the key is absent or null."""
        value = self.values.get(self._spelled(key))
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.error(key, f"{_shown(value)} is not a mapping")
        path = f"{self._spelled(key)}."
        return Keys({path + str(name): item for name, item in value.items()}, path)

    def error(self, key: str, reason: str) -> ConfigError:
        return ConfigError(self._spelled(key), reason)

    def _spelled(self, key: str) -> str:
        """The key as the file has it; as it is first spelled where the file has none."""
        names = [self.prefix + name for name in self.spellings.get(key, (key,))]
        return next((name for name in names if self.values.get(name) is not None), names[0])

    def _get(self, key: str, default: Default | _Required) -> Any:
        value = self.values.get(self._spelled(key))
        if value is not None:
            return value
        if isinstance(default, _Required):
            raise self.error(key, "it is missing")
        return default

    def _list(self, key: str, length: int) -> list[Any]:
        value = self._get(key, REQUIRED)
        if not isinstance(value, list | tuple):
            raise self.error(key, f"{_shown(value)} is not a list")
        if len(value) != length:
            raise self.error(key, f"it has {len(value)} entries where {length} belong")
        return list(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig(ABC):
    """What every family's config says. `vocabulary` is None where a GGUF leaves it to the embedding's shape."""

    context: int
    vocabulary: int | None

    @classmethod
    @abstractmethod
    def from_hf(cls, keys: Mapping[str, Any]) -> Self:
        """Read config.json's keys. Raises `ConfigError`."""

    @classmethod
    @abstractmethod
    def from_gguf(cls, keys: Mapping[str, Any]) -> Self:
        """Read a GGUF's key-values. Raises `ConfigError`."""


def refuse_quantized(keys: Keys) -> None:
    """Weights that some other tool has packed carry other tensors than the plain ones; say so by the key."""
    section = keys.section("quantization_config")
    if section is not None:
        method = section.values.get(section.prefix + "quant_method", "an unnamed method")
        raise keys.error("quantization_config", f"weights quantised by {_shown(method)} cannot be read")


def of_text(keys: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys of the text model, where a file's config is of one for images too."""
    inner = keys.get(TEXT)
    return {**keys, **inner} if isinstance(inner, Mapping) else keys


def divides(keys: Keys, whole: tuple[str, int], part: tuple[str, int]) -> None:
    """Raise unless the second named value divides the first."""
    if whole[1] % part[1]:
        raise keys.error(part[0], f"{part[1]} does not divide {keys.prefix}{whole[0]}, {whole[1]}")


def _shown(value: object) -> str:
    """A value as a message may hold it, however large it is."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of over 30 digits"
    if isinstance(value, str):
        return repr(value if len(value) <= 50 else value[:47] + "...")
    if isinstance(value, int | float):
        return repr(value)
    return "a list" if isinstance(value, list | tuple) else "a mapping" if isinstance(value, Mapping) else "that"
