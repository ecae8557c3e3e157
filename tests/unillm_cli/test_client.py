"""The way from the command line to an engine: what loading has to say reaches the person who waits."""

from pathlib import Path

import pytest

from unillm.runtime.text.tokenizer import Tokenizer
from unillm.tests.models.gguf_files import write_gguf
from unillm.tests.models.zoo import BY_NAME
from unillm.tests.unillm_cli.doors import Stream
from unillm.unillm_cli.client import open_engine
from unillm.unillm_cli.session import Session


@pytest.mark.parametrize("note", [None, "answers\x1b may suffer"])
def test_what_there_is_to_know_of_a_tokenizer_is_said_once_beside_the_answer(
    note: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(write_gguf(BY_NAME["llama3.2"].wide(), tmp_path, "Q8_0").files.weights[0])
    monkeypatch.setattr(Tokenizer, "note", note)
    out, err = Stream(), Stream()
    session = Session(Stream(), out, err, {"UNILLM_CONFIG": "/nowhere/config.toml"})
    with open_engine(session, session.settings(model=model)) as opened:
        assert opened.name == model
    said = [] if note is None else [f"{model}: answers\\u001b may suffer"]
    assert (out.getvalue(), err.getvalue().splitlines()) == ("", said)
