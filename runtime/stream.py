"""The updates of one or several requests, as they come."""

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from .results import Update


class Source(Protocol):
    """What a stream needs of an engine."""

    def next_update(self, ids: tuple[str, ...]) -> Update | None: ...
    def forget(self, ids: tuple[str, ...], *, wait: bool) -> None: ...


class Stream(Iterator[Update]):
    """Iterate over it for updates. Whoever stops early calls `close`, or leaves a `with`: what runs is aborted."""

    def __init__(self, ids: tuple[str, ...], source: Source) -> None:
        self.ids = ids
        self._source: Source | None = source

    @property
    def id(self) -> str:
        """The request's id, for `Engine.abort`; of several requests, the first one's."""
        return self.ids[0]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Update:
        update = None if self._source is None else self._source.next_update(self.ids)
        if update is None:
            self.close()
            raise StopIteration
        return update

    def close(self) -> None:
        self._leave(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self._leave(wait=False)  # it may run anywhere, also inside the very locks that the engine holds

    def _leave(self, *, wait: bool) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.forget(self.ids, wait=wait)
