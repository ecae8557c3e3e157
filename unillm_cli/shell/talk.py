"""One conversation with one model: a question goes out, the answer is shown as it comes, and both are kept."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from ...runtime.params import SamplingParams
from ...runtime.results import Completion
from ..errors import CliError, Exit, report
from ..session import Session
from ..speaking import Said, Speaker
from ..timings import block
from .conversation import Conversation
from .room import is_nearly_full, make_room, meter_text
from .stopping import Stoppable
from .store import NowhereToKeep, Store
from .views import view
from .voice import Voice


class Talk:
    """What the loop and the commands of a shell share.

    `verbose` tells of times after each answer, `markdown` renders answers where the terminal can, `hides_thoughts`
    shows none of what the model thinks, `remembers` says whether what is typed is kept for the arrow keys of later
    shells. `failed` is the code of the first thing that went wrong, `stopped` says that the user broke off the answer.
    """

    def __init__(self, session: Session, voice: Voice, store: Store | None, conversation: Conversation) -> None:
        self.session, self.voice, self.conversation = session, voice, conversation
        self.output = session.output
        self.verbose, self.markdown, self.remembers, self.leaves = False, True, True, False
        self.hides_thoughts = self.stopped = False
        self.failed = Exit.OK
        self.used = 0
        self.last: Completion | None = None
        self._store = store
        self._held = ExitStack()
        self._warned = False
        self.take(conversation)

    def take(self, conversation: Conversation) -> None:
        """Go on with this conversation. Where another shell has it, it goes on as a copy."""
        self._held.close()
        self.conversation, self.used, self.last, self._warned = conversation, 0, None, False
        if self._store is None or self._held.enter_context(self._store.held(conversation.id)):
            return
        copy = replace(conversation, messages=list(conversation.messages))
        copy.renew()
        self.output.note(f"conversation {conversation.id} is open in another shell; this one is a copy, {copy.id}")
        self._held.enter_context(self._store.held(copy.id))
        self.conversation = copy

    def clear(self) -> None:
        """Begin anew; what was said stays where it is kept."""
        self.take(Conversation(self.conversation.model, **self._wishes()))

    def close(self) -> None:
        self._held.close()

    def speaker(self) -> Speaker:
        """Whoever answers, loaded where it is not; a name that nobody gave is known then."""
        speaker = self.voice.speaker()
        self.conversation.model = self.voice.model or speaker.name
        if not self.used and self.conversation.messages and speaker.converses:
            self.used = min(speaker.count(self.conversation.read) or speaker.context, speaker.context)
        return speaker

    def ask(self, text: str) -> None:
        """Ask, and show the answer. A question that gets none is not part of the conversation."""
        speaker = self.speaker()
        self.conversation.ask(text)
        try:
            said = self._answered(speaker)
        except BaseException:
            self.conversation.take_back()
            raise
        if said:
            self.conversation.answer(said)
            self.keep()
        else:
            self.conversation.take_back()

    def keep(self) -> None:
        """Write down the conversation. Where that is not possible it is said once, and talk goes on."""
        if self._store is None or not self.conversation.messages:
            return
        try:
            self._store.save(self.conversation)
        except NowhereToKeep as error:
            self._store = None
            self.output.warn(f"this conversation is not kept: {error}")

    @property
    def name(self) -> str:
        """What the model is called: a path by its last part."""
        return (
            PurePath(self.conversation.model).name
            if self.conversation.model.startswith("/")
            else self.conversation.model
        )

    def meter(self) -> str:
        """How full the context is, in words."""
        speaker = self.voice.loaded
        return meter_text(self.used, speaker.context) if speaker else "not loaded"

    def params(self) -> SamplingParams:
        """How the next answer is made."""
        set_by_user = {name: value for name, value in self.conversation.parameters.items() if name != "context"}
        if self.conversation.schema is not None:
            set_by_user["schema"] = self.conversation.schema
        return SamplingParams(**set_by_user)

    def _answered(self, speaker: Speaker) -> str:
        """What was answered, all of it or up to where the user stopped it."""
        params = self.params()
        self._make_room(speaker, params.max_tokens)
        shown = view(self.session, markdown=self.markdown)
        pieces: list[str] = []
        completion = None
        answer = speaker.answer(self._said(speaker), params, think=self.conversation.think)
        with Stoppable(answer) as updates:
            try:
                for update in updates:
                    shown.think("" if self.hides_thoughts else update.thought)
                    shown.write(update.text)
                    pieces.append(update.text)
                    completion = update.completion or completion
            finally:
                shown.finish()
        self.stopped = updates.stopped
        self._tell(speaker, completion, params)
        return "".join(pieces)

    def _said(self, speaker: Speaker) -> Said:
        """A model that cannot write down conversations continues the last text, and knows nothing else."""
        return self.conversation.read if speaker.converses else self.conversation.messages[-1]["content"]

    def _make_room(self, speaker: Speaker, wanted: int | None) -> None:
        if not speaker.converses:
            return
        if gone := make_room(self.conversation, speaker, wanted):
            self.output.warn(
                f"the conversation does not fit in the context of {speaker.context:,} tokens: the model no longer "
                f"reads its {self.conversation.first} oldest messages, {gone} more than before. /clear begins anew"
            )

    def _tell(self, speaker: Speaker, completion: Completion | None, params: SamplingParams) -> None:
        """What there is to say after an answer."""
        if self.stopped:
            self.output.note("stopped")
        if completion is None:
            return
        if completion.error is not None:
            raise completion.error
        if self.stopped and not completion.usage.completion_tokens:
            return
        self.last = completion
        self.used = completion.usage.prompt_tokens + completion.usage.completion_tokens
        if completion.finish_reason == "length" and params.max_tokens is None:
            self.output.warn(speaker.why_cut(completion))
        for line in block(completion, 0.0) if self.verbose else ():
            self.output.note(line)
        self._warn(speaker)

    def _warn(self, speaker: Speaker) -> None:
        """Say once that soon not all of it will be read any more."""
        full = is_nearly_full(self.used, speaker.context) and speaker.converses
        if full and not self._warned:
            self.output.warn(
                f"the context is nearly full: {self.meter()}. Soon the oldest messages will be left out of what the "
                "model reads; /set parameter num_ctx makes it longer, /clear begins anew"
            )
        self._warned = full

    def _wishes(self) -> dict[str, Any]:
        said = self.conversation
        wishes = {"system": said.system, "schema": said.schema, "think": said.think}
        return {**wishes, "parameters": dict(said.parameters)}


def tell_error(talk: Talk, error: Exception) -> None:
    """Say why something did not go; the shell goes on."""
    told = report(error)
    talk.failed = talk.failed or told.code
    talk.output.fail(told.message, told.hint)


class NotInShell(CliError):
    """A command of the shell that cannot be."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
