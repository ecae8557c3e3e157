"""What can be wrong with a model: each a value with data, worded at the door."""


class ModelError(Exception):
    """The base of everything that `models` raises at a user's mistake or a file's.

    `source` is the model or the file that it is about, set by whoever knows it.
    """

    hint: str | None = None
    source: str | None = None

    def __str__(self) -> str:
        said = super().__str__()
        return said if self.source is None else f"{self.source}: {said}"


class UnknownArchitecture(ModelError):
    """No family here computes what the files name. With the package `lender` something would."""

    def __init__(self, architecture: str, near: list[str], lender: str | None = None) -> None:
        super().__init__(f"the architecture {architecture!r} is not one that unillm runs")
        self.architecture, self.near, self.lender = architecture, near, lender
        hints = [f"transformers computes it, install {lender}"] if lender else []
        hints += [f"near: {', '.join(near)}"] if near else []
        self.hint = "; ".join(hints) or None


class BorrowingError(ModelError):
    """A class of `transformers` does not compute here what it does there."""

    def __init__(self, architecture: str, reason: str) -> None:
        super().__init__(f"transformers' {architecture} cannot be run: {reason}")
        self.architecture, self.reason = architecture, reason


class ConfigError(ModelError):
    """A key of config.json, or of a GGUF's metadata, is missing or impossible."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key, self.reason = key, reason


class WeightsError(ModelError):
    """The tensors of a checkpoint are not those that its architecture has."""

    def __init__(
        self,
        reason: str,
        *,
        missing: list[str] | None = None,
        surplus: list[str] | None = None,
        misshapen: list[str] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.missing, self.surplus, self.misshapen = missing or [], surplus or [], misshapen or []


class SplitError(ModelError):
    """A tensor does not divide over so many ranks."""

    def __init__(self, tensor: str, world: int, reason: str) -> None:
        super().__init__(f"{tensor} cannot be divided over {world} ranks: {reason}")
        self.tensor, self.world, self.reason = tensor, world, reason
