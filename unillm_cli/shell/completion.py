"""What may be completed: commands, what follows them, and names of models after those that take one."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from ..escapes import visible
from .slash import MODELS


class CommandCompleter(Completer):
    """`words` says what may follow: by what stands before the cursor, word by word ("", "/set", "/set parameter").

    `models` is asked once, when the first name is wanted.
    """

    def __init__(self, words: Mapping[str, Sequence[str]], models: Callable[[], Sequence[str]]) -> None:
        self._words, self._models = words, models
        self._names: Sequence[str] | None = None

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        line = document.text_before_cursor
        if not line.startswith("/") or "\n" in line:
            return
        before, _, last = line.rpartition(" ")
        for word in self._following(" ".join(before.split())):
            if word.startswith(last):
                yield Completion(word, start_position=-len(last), display=visible(word))

    def _following(self, before: str) -> Iterable[str]:
        for word in self._words.get(before, ()):
            if word == MODELS:
                yield from self._known()
            else:
                yield word

    def _known(self) -> Sequence[str]:
        if self._names is None:
            self._names = self._models()
        return self._names
