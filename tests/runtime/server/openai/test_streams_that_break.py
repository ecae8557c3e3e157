"""What a stream says that breaks off: an error as its last words, and no [DONE]."""

import json
from collections.abc import Iterable

from unillm.runtime.hosting.asking import Fault, Piece
from unillm.runtime.server.openai.chat import ChatScribe
from unillm.runtime.server.openai.completions import Echo, TextScribe
from unillm.runtime.server.openai.response_events import ResponseScribe
from unillm.runtime.server.openai.types import CompletionBody, ResponseBody
from unillm.runtime.server.openai.wording import Head

HEAD = Head("1", 2, "some", "unillm")
FAULT = Fault("unavailable", "the engine has ended", "ask again")
PIECES = (Piece(prompt_tokens=[1, 2]), Piece(text="a", token_ids=[3]))


def told(parts: Iterable[bytes]) -> list[dict[str, object]]:
    lines = [line for part in parts for line in part.decode().split("\n") if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_chat_and_completions_end_with_an_error() -> None:
    """SV-21"""
    text = CompletionBody(model="some", prompt="a")
    for scribe in (ChatScribe(HEAD, 1, include_usage=True), TextScribe(HEAD, text, Echo())):
        for piece in PIECES:
            list(scribe.write(piece))
        assert told(scribe.broke(FAULT)) == [
            {
                "error": {
                    "message": "the engine has ended; ask again",
                    "type": "server_error",
                    "param": None,
                    "code": "service_unavailable",
                }
            }
        ]


def test_a_response_fails_and_its_last_event_is_the_error() -> None:
    """SV-21"""
    scribe = ResponseScribe(ResponseBody(model="some", input="a"), HEAD)
    before = [event for piece in PIECES for event in told(scribe.write(piece))]
    failed, error = told(scribe.broke(FAULT))
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"] == {"code": "service_unavailable", "message": "the engine has ended; ask again"}  # type: ignore[index]
    assert (error["type"], error["sequence_number"]) == ("error", len(before) + 1)


def test_a_character_in_two_pieces_makes_no_empty_chunk() -> None:
    scribe = ChatScribe(HEAD, 1, include_usage=False)
    assert list(scribe.write(Piece(text="", token_ids=[5]))) == []
