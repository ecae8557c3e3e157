"""Who answers in the shell: one model at a time, loaded when it is needed, another one when the user says so."""

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from ..client import find_model
from ..session import Session
from ..settings import Settings
from ..speaking import Speaker, choose_server, open_speaker


class Voice:
    """`own` are the flags that say how a model is loaded in this process; `host` and `local` where it may be."""

    def __init__(
        self, session: Session, model: str | None, own: Mapping[str, object], host: str | None, *, local: bool
    ) -> None:
        self._session, self._own, self._host, self._local = session, own, host, local
        self.model = model
        self.context: int | None = None
        self._open = ExitStack()
        self._speaker: Speaker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def loaded(self) -> Speaker | None:
        return self._speaker

    def speaker(self) -> Speaker:
        """Whoever answers now, loaded where it is not."""
        if self._speaker is None:
            settings = self._settings(self.model)
            server = choose_server(self._session, settings, self._host, self._own, local=self._local)
            opening = open_speaker(self._session, settings, server, self.context)
            self._speaker = self._open.enter_context(opening)
            self.model = self._speaker.name if self.model is None else self.model
        return self._speaker

    def load(self, model: str) -> Speaker:
        """Have another model answer. One that cannot be had leaves things as they are."""
        settings = self._settings(model)
        server = choose_server(self._session, settings, self._host, self._own, local=self._local)
        if server is None:
            find_model(self._session, settings)
        else:
            server.close()
        before, self.model = self.model, model
        self.close()
        try:
            return self.speaker()
        except BaseException:
            self.model = before
            raise

    def close(self) -> None:
        """Let the model go; it is loaded again when somebody asks."""
        self._speaker = None
        self._open.close()

    def _settings(self, model: str | None) -> Settings:
        own = {**self._own, "context": self.context or self._own.get("context")}
        return self._session.settings(model=model, **own)
