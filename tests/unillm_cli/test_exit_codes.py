"""What every command ends with, said once for all of them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from unillm.registry.store import Store
from unillm.tests.support.fake_hub import FakeHub, Repo
from unillm.tests.support.tiny_models import original
from unillm.tests.unillm_cli.doors import run
from unillm.tests.unillm_cli.fakes import FakeEngine
from unillm.unillm_cli.errors import Exit

NOWHERE = "127.0.0.1:9"
# One after the other in one home, where MODEL is `mine` and FOLDER is for what is written.
ENDINGS: tuple[tuple[str, Exit], ...] = (
    ("", Exit.OK),
    ("--version", Exit.OK),
    ("models --json", Exit.OK),
    ("show mine", Exit.OK),
    ("verify", Exit.OK),
    ("cp mine other", Exit.OK),
    ("cp mine other", Exit.FAILED),
    ("export mine FOLDER/mine.tar", Exit.OK),
    ("export mine FOLDER/mine.tar", Exit.FAILED),
    ("import FOLDER/mine.tar --name third", Exit.OK),
    ("import FOLDER/none", Exit.NOT_FOUND),
    ("rm third", Exit.OK),
    ("rm third", Exit.NOT_FOUND),
    ("rm", Exit.USAGE),
    ("prune", Exit.OK),
    ("lock -f FOLDER/all.lock", Exit.OK),
    ("lock mine -f FOLDER/all.lock", Exit.FAILED),
    ("sync -f FOLDER/all.lock", Exit.OK),
    ("sync -f FOLDER/none", Exit.USAGE),
    ("create x -f FOLDER/none", Exit.USAGE),
    ("config", Exit.OK),
    ("history", Exit.OK),
    ("history jump", Exit.USAGE),
    ("history show none", Exit.NOT_FOUND),
    ("history rm none", Exit.NOT_FOUND),
    (f"ps --host {NOWHERE}", Exit.NETWORK),
    (f"stop mine --host {NOWHERE}", Exit.NETWORK),
    (f"pin mine --host {NOWHERE}", Exit.NETWORK),
    (f"unpin mine --host {NOWHERE}", Exit.NETWORK),
    ("search", Exit.USAGE),
    ("search llama", Exit.OK),
    ("pull org/gated", Exit.NOT_ALLOWED),
    ("pull org/none", Exit.NOT_ALLOWED),
    ("pull ../x", Exit.NOT_FOUND),
    ("pull org/repo --offline", Exit.NETWORK),
    ("generate Hi", Exit.OK),
    ("generate", Exit.USAGE),
    ("generate Hi --temperature -3", Exit.USAGE),
    ("generate Hi --choice a --regex b", Exit.USAGE),
    ("run none:1b Hi --local", Exit.OK),
    ("shell --local", Exit.OK),
    ("shell --resume none --local", Exit.NOT_FOUND),
    ("bench none:1b --context 1", Exit.USAGE),
    ("serve --port 99999", Exit.USAGE),
    ("complete models", Exit.OK),
    ("porbe", Exit.USAGE),
    ("models --nope", Exit.USAGE),
)


def test_the_codes_hold_for_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SH-11"""
    FakeEngine("yes").install(monkeypatch)
    (model := tmp_path / "model").mkdir()
    for name, data in original().items():
        (model / name).write_bytes(data)
    with FakeHub().running() as hub:
        hub.repos["org/gated"] = Repo(original(), gated="auto")
        environ = {**places(tmp_path), "HF_ENDPOINT": hub.endpoint}
        assert run("pull", str(model), "--name", "mine", environ=environ).code == Exit.OK
        for words, code in ENDINGS:
            ran = run(*words.replace("FOLDER", str(tmp_path)).split(), environ=environ)
            assert ran.code == code, (words, ran)
            assert ran.err.startswith("error: ") or "\nerror: " in ran.err or code == Exit.OK, (words, ran)


def test_a_store_that_is_used_and_a_command_that_is_interrupted_have_codes_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SH-11"""
    with Store(tmp_path / "home").working():
        assert run("prune", environ=places(tmp_path)).code == Exit.BUSY
    for error, code in ((KeyboardInterrupt(), Exit.INTERRUPTED), (MemoryError(), Exit.NO_ROOM)):
        FakeEngine("half").install(monkeypatch)
        monkeypatch.setattr(FakeEngine, "stream", raising(error))
        assert run("generate", "Hi", "--raw", environ=places(tmp_path)).code == code


def raising(error: BaseException) -> object:
    def stream(*_words: object) -> object:
        raise error

    return stream


def places(folder: Path) -> Mapping[str, str]:
    return {
        "UNILLM_HOME": str(folder / "home"),
        "UNILLM_STATE": str(folder / "state"),
        "HF_HOME": str(folder / "hf"),
        "PATH": str(folder),
    }
