"""The shell: read what is typed, do or ask it, again, until the user leaves. No error and no Ctrl-C ends it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

import typer

from ...registry.names import ModelRef
from ..errors import OutputFailed, ReaderLeft
from ..options import Effort
from ..prompts import is_typed_at
from ..session import Session
from ..speaking import check_thinking
from . import library, slash
from .conversation import Conversation
from .keyboard import Keyboard, Lines, Reader, unquoted
from .modes import quiet
from .stopping import deaf, hearing
from .store import NoSuchConversation, NowhereToKeep, Store, state_folder
from .talk import Talk, tell_error
from .views import NARROWEST
from .voice import Voice

_LEAVE = "Ctrl-D or /bye leaves"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a shell begins with. `resumed` is the id of a kept conversation, "" for the latest."""

    model: str | None
    system: str | None
    parameters: Mapping[str, object]
    own: Mapping[str, object]
    host: str | None
    local: bool
    resumed: str | None
    verbose: bool
    think: bool | Effort | None
    hides_thoughts: bool


def open_shell(session: Session, wanted: Wanted) -> None:
    """Talk until the user leaves. Raises what keeps a conversation from beginning: a name that is none, say.

    Without a terminal nobody sees what goes wrong: the command ends with the code of the first error then.
    """
    store = _store(session)
    conversation = _begun(session, wanted, store)
    steered = _is_steered(session)
    with (
        quiet(session.stdin if steered else None),  # already while the model is loaded: people type ahead
        Voice(session, conversation.model or None, wanted.own, wanted.host, local=wanted.local) as voice,
    ):
        context = conversation.parameters.get("context")
        voice.context = context if isinstance(context, int) else None
        talk = Talk(session, voice, store, conversation)
        talk.verbose, talk.hides_thoughts = wanted.verbose, wanted.hides_thoughts
        try:
            check_thinking(talk.speaker(), conversation.think)
            _loop(talk, _keyboard(talk, store) if steered else Lines(session))
        finally:
            talk.close()
        if talk.failed and not is_typed_at(session.stdin):
            raise typer.Exit(talk.failed)


def _loop(talk: Talk, reader: Reader) -> None:
    typed = is_typed_at(talk.session.stdin)
    with deaf():
        while not talk.leaves:
            try:
                with hearing():
                    text = reader.read()
            except EOFError:
                return
            except KeyboardInterrupt:
                if not typed:
                    raise
                talk.output.note(_LEAVE)
                continue
            _heed(talk, text)
            if talk.stopped and not typed:
                raise KeyboardInterrupt


def _heed(talk: Talk, text: str) -> None:
    """Do what was typed; what goes wrong is told."""
    try:
        with hearing():
            _do(talk, text)
    except (OutputFailed, ReaderLeft):
        raise  # nobody hears us any more
    except KeyboardInterrupt:
        talk.voice.close()  # it broke into whatever was going on; a model that may be half-way is not asked again
        talk.stopped = True
        talk.output.note("interrupted")
    except Exception as error:  # a door: the shell goes on after any failure of one line
        tell_error(talk, error)


def _do(talk: Talk, text: str) -> None:
    if slash.is_command(text.strip()):
        slash.dispatch(talk, text.strip())
    elif said := unquoted(text).strip():
        talk.ask(said)


def _is_steered(session: Session) -> bool:
    """Whether both ends are a terminal that moves its cursor."""
    is_typed = session.stdin is not None and session.stdin.isatty()
    is_able = session.environ.get("TERM") != "dumb" and shutil.get_terminal_size().columns >= NARROWEST
    return is_typed and session.output.answers_terminal and is_able


def _keyboard(talk: Talk, store: Store | None) -> Reader:
    from .completion import CommandCompleter  # late: a pipe needs no line editor
    from .past import Past

    session = talk.session
    past = Past(store.folder.parent if store else None, lambda: talk.remembers)
    models = CommandCompleter(slash.words(), lambda: library.names(session, talk.voice.loaded))
    return Keyboard(session, past, models, lambda: f"{talk.name} · {talk.meter()}")


def _store(session: Session) -> Store | None:
    try:
        return Store(state_folder(session.settings().state))
    except NowhereToKeep as error:
        session.output.warn(f"conversations are not kept: {error}")
        return None


def _begun(session: Session, wanted: Wanted, store: Store | None) -> Conversation:
    """The conversation that goes on, or a new one."""
    if wanted.resumed is None:
        model = _lasting(session.settings(model=wanted.model).model)
        return Conversation(model, system=wanted.system, parameters=dict(wanted.parameters), think=wanted.think)
    if store is None:
        raise NoSuchConversation(wanted.resumed or None)
    found = store.load(wanted.resumed) if wanted.resumed else store.latest()
    found.model = _lasting(wanted.model) or found.model
    found.system = found.system if wanted.system is None else wanted.system
    found.parameters |= wanted.parameters
    found.think = found.think if wanted.think is None else wanted.think
    _recall(session, found)
    return found


def _lasting(model: str | None) -> str:
    """A path that is right from everywhere; "" for the default model."""
    ref = ModelRef.parse(model) if model else None
    return str(ref.path.expanduser().absolute()) if ref and ref.is_path else model or ""


def _recall(session: Session, found: Conversation) -> None:
    """Say what it was about: the last question and its answer."""
    output = session.output
    output.note(f"conversation {found.id} with {found.model}, {len(found.messages)} messages")
    for message in found.messages[-2:]:
        output.note(f"{'>>> ' if message['role'] == 'user' else ''}{message['content']}")
