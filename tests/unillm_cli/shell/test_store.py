"""Kept conversations: for the user alone, whole, and none the worse for a damaged one beside them."""

import json
from pathlib import Path

import pytest

from unillm.unillm_cli.shell.conversation import Conversation, NotAConversation
from unillm.unillm_cli.shell.past import Past
from unillm.unillm_cli.shell.store import (
    DamagedConversation,
    NoSuchConversation,
    NowhereToKeep,
    Store,
    state_folder,
)


def talked(text: str = "Hi") -> Conversation:
    made = Conversation("tiny", system="Be brief", parameters={"seed": 1}, schema={"type": "object"})
    made.ask(text)
    made.answer("Hello \ud800 there \u0000")
    return made


def test_what_was_said_comes_back(tmp_path: Path) -> None:
    store, said = Store(tmp_path), talked()
    store.save(said)
    found = store.load(said.id)
    assert (found.system, found.parameters, found.schema) == ("Be brief", {"seed": 1}, {"type": "object"})
    assert [one["content"] for one in found.messages] == ["Hi", "Hello ? there \u0000"]
    assert store.latest().id == said.id


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    """SH-07"""
    (tmp_path / "state" / "conversations").mkdir(parents=True, mode=0o755)
    store, said = Store(tmp_path / "state"), talked()
    store.save(said)
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert (store.folder / f"{said.id}.json").stat().st_mode & 0o777 == 0o600
    assert Store(tmp_path / "new").folder.parent.exists() is False


DAMAGE = ["", "{", "[]", "null", '{"id": 1}', "[" * 100_000, '{"model": "x"}', "\xff"]


@pytest.mark.parametrize("text", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_one_is_told_of_and_hurts_no_other(tmp_path: Path, text: str) -> None:
    store, said = Store(tmp_path), talked()
    store.save(said)
    (store.folder / "19990101-000000-dead.json").write_text(text, "latin-1")
    kept = store.all()
    assert [one.conversation is None for one in sorted(kept, key=lambda one: one.id)] == [True, False]
    assert store.latest().id == said.id
    with pytest.raises(DamagedConversation):
        store.load("19990101-000000-dead")


@pytest.mark.parametrize("change", [{"first": 9}, {"messages": [{"role": "root", "content": "x"}]}, {"model": 1}])
def test_data_is_looked_at_before_it_is_believed(change: dict[str, object]) -> None:
    with pytest.raises(NotAConversation):
        Conversation.from_data({**talked().as_data(), **change})


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """SH-07"""
    store, said = Store(tmp_path / "state"), talked()
    store.save(said)
    (tmp_path / "secret.json").write_text(json.dumps(said.as_data()))
    (store.folder / "linked.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(DamagedConversation):
        store.load("linked")
    (tmp_path / "state" / "typed.jsonl").symlink_to(tmp_path / "elsewhere")
    Past(tmp_path / "state", lambda: True).store_string("x")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("wanted", ["", "../x", "/etc/passwd", "a/b", "a.b", "x\0y", "é"])
def test_an_id_is_never_a_path(tmp_path: Path, wanted: str) -> None:
    for act in (Store(tmp_path).load, Store(tmp_path).remove):
        with pytest.raises(NoSuchConversation):
            act(wanted)


def test_one_shell_at_a_time_has_it(tmp_path: Path) -> None:
    store, said = Store(tmp_path), talked()
    with store.held(said.id) as ours, Store(tmp_path).held(said.id) as theirs:
        assert (ours, theirs) == (True, False)
    with store.held(said.id) as again:
        assert again


def test_where_nothing_can_be_kept_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NowhereToKeep):
        Store(tmp_path / "file").save(talked())
    assert Store(tmp_path / "file").all() == []


def test_nobody_knows_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_state_path", lambda *_a, **_k: Path("~/.local/state/unillm"))
    with pytest.raises(NowhereToKeep):
        state_folder(None)


def test_what_was_typed_comes_back_newest_first_and_secrets_do_not(tmp_path: Path) -> None:
    """SH-07"""
    past = Past(tmp_path, lambda: True)
    for text in ("one", "two\nlines", " my password", "x" * 20_000):
        past.store_string(text)
    Past(tmp_path, lambda: False).store_string("not wanted")
    assert list(Past(tmp_path, lambda: True).load_history_strings()) == ["two\nlines", "one"]
    assert (tmp_path / "typed.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_long_past_loses_its_older_half(tmp_path: Path) -> None:
    past = Past(tmp_path, lambda: True)
    (tmp_path / "typed.jsonl").write_text(
        "".join(json.dumps(f"{n} {'x' * 1000}") + "\n" for n in range(1200)) + "not JSON\n"
    )
    assert len(list(past.load_history_strings())) == 600
    assert (tmp_path / "typed.jsonl").stat().st_size < 700_000
