"""Options that go together, each group named once: a command takes one as a single parameter.

`app` spreads a group over the command's own options, and hands back what was given as one value.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from . import options as of
from .errors import UsageError
from .forms import read_file, read_schema


@dataclass(frozen=True, slots=True)
class Loading:
    """How a model is loaded. A field at None was not given."""

    context: of.ContextOption = None
    device: of.DeviceOption = None
    dtype: of.DtypeOption = None
    kv_dtype: of.KVDtypeOption = None
    prefix_cache: of.PrefixCacheOption = None
    attention_backend: of.AttentionBackendOption = None
    max_batch_tokens: of.MaxBatchTokensOption = None
    max_running: of.MaxRunningOption = None
    exact: of.ExactOption = None
    quantize: of.QuantizeOption = None
    offline: of.OfflineOption = None

    def flags(self) -> dict[str, Any]:
        """By the names of the settings."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LoadingHere(Loading):
    """The same in this process, where another model may guess ahead."""

    draft: of.DraftOption = None


@dataclass(frozen=True, slots=True)
class Where:
    """Which server answers, or none."""

    host: of.HostOption = None
    local: of.LocalOption = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen, and when that ends."""

    max_tokens: of.MaxTokensOption = None
    temperature: of.TemperatureOption = None
    top_k: of.TopKOption = None
    top_p: of.TopPOption = None
    min_p: of.MinPOption = None
    typical_p: of.TypicalPOption = None
    repetition_penalty: of.RepetitionPenaltyOption = None
    presence_penalty: of.PresencePenaltyOption = None
    frequency_penalty: of.FrequencyPenaltyOption = None
    seed: of.SeedOption = None
    stop: of.StopOption = None

    def given(self) -> dict[str, Any]:
        """The fields of `SamplingParams` that are set."""
        return _given(self)


@dataclass(frozen=True, slots=True)
class Forms:
    """What the answer must look like."""

    schema: of.SchemaOption = None
    regex: of.RegexOption = None
    choice: of.ChoiceOption = None
    grammar: of.GrammarOption = None

    def given(self) -> dict[str, Any]:
        """The fields of `SamplingParams` that are set, files read. Raises `UsageError`."""
        found = _given(self)
        if len(found) > 1:
            raise UsageError(f"{' and '.join(f'--{name}' for name in found)} exclude each other")
        if self.schema is not None:
            found["schema"] = read_schema("--schema", self.schema)
        if self.grammar is not None:
            found["grammar"] = read_file("--grammar", self.grammar)
        return found


@dataclass(frozen=True, slots=True)
class Thinking:
    """Whether the model thinks before it speaks, and who sees it."""

    think: of.ThinkOption = None
    effort: of.EffortOption = None
    hide_thinking: of.HideThinkingOption = False

    @property
    def wanted(self) -> bool | of.Effort | None:
        """None: as the model likes."""
        if self.effort is not None and self.think is False:
            raise UsageError("--effort and --no-think exclude each other")
        return self.effort or self.think


def _given(group: Sampling | Forms) -> dict[str, Any]:
    given = {one.name: getattr(group, one.name) for one in fields(group)}
    return {n: tuple(value) if isinstance(value, list) else value for n, value in given.items() if value is not None}
