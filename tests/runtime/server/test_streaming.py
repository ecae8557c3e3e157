"""Answers that come in pieces, made of a host that says what the test wants."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from unillm.runtime.hosting.asking import Ask, Fault, HostError, Piece
from unillm.runtime.params import SamplingParams
from unillm.runtime.server.endpoint import Refused
from unillm.runtime.server.streaming import gather, stream, together

FAULT = Fault("unavailable", "gone")


class Said:
    """A host whose answers are the words of the prompt, a piece each; `fails` breaks off, `never` says nothing."""

    def __init__(self) -> None:
        self.open = 0

    async def ask(self, ask: Ask) -> AsyncIterator[Piece]:
        text = ask.text or ""
        if text == "refused":
            raise HostError(FAULT)
        self.open += 1
        try:
            yield Piece(prompt_tokens=[1], queued=3)
            if text == "never":
                await asyncio.Event().wait()
            for choice in range(ask.params.n):
                for word in text.split():
                    await asyncio.sleep(0)
                    yield Piece(choice=choice, text=word, fault=FAULT if word == "fails" else None)
                yield Piece(choice=choice, finish_reason="stop")
        finally:
            self.open -= 1


class Words:
    """The plainest dialect."""

    media_type = "text/plain"

    def write(self, piece: Piece) -> list[bytes]:
        return [piece.text.encode()]

    def end(self) -> list[bytes]:
        return [b" [end]"]

    def broke(self, fault: Fault) -> list[bytes]:
        return [b" broke: ", fault.message.encode()]


def asked(text: str, n: int = 1) -> Ask:
    return Ask(model="some", text=text, params=SamplingParams(n=n))


def request(*, leaves: bool = False) -> Request:
    async def receive() -> Any:
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "state": {"id": "req_1"}}, receive)


def streamed(host: Said, *asks: Ask) -> tuple[bytes, str]:
    async def read() -> tuple[bytes, str]:
        response: Any = await stream(host, asks, request(), Words())  # type: ignore[arg-type]
        return b"".join([part async for part in response.body_iterator]), response.headers["x-queue-position"]

    return asyncio.run(read())


def test_a_stream_is_all_pieces_and_the_end() -> None:
    host = Said()
    assert streamed(host, asked("one two")) == (b"onetwo [end]", "3")
    assert host.open == 0


def test_what_is_refused_before_the_first_piece_has_its_status() -> None:
    for several in ([asked("refused")], [asked("one"), asked("refused")]):
        host = Said()
        with pytest.raises(Refused) as refused:
            streamed(host, *several)
        assert (refused.value.fault, refused.value.status) == (FAULT, 503)
        assert host.open == 0


def test_what_breaks_off_later_has_the_last_word_and_no_end() -> None:
    host = Said()
    assert streamed(host, asked("one fails two"))[0] == b"one broke: gone"
    assert host.open == 0


def test_several_prompts_answer_together_their_choices_numbered_on() -> None:
    async def read() -> list[Piece]:
        return [piece async for piece in together(Said(), [asked("a b", 2), asked("c", 1), asked("d e", 2)])]  # type: ignore[arg-type]

    pieces = asyncio.run(read())
    assert [piece.choice for piece in pieces[:3]] == [0, 2, 3]
    assert all(piece.prompt_tokens is not None for piece in pieces[:3])
    texts = {choice: "".join(piece.text for piece in pieces if piece.choice == choice) for choice in range(5)}
    assert texts == {0: "ab", 1: "ab", 2: "c", 3: "de", 4: "de"}


def test_an_answer_that_nobody_waits_for_is_ended() -> None:
    host = Said()
    with pytest.raises(ClientDisconnect):
        asyncio.run(gather(host, [asked("never"), asked("one")], request(leaves=True)))  # type: ignore[arg-type]
    assert host.open == 0


def test_a_whole_answer_with_a_fault_in_it_is_refused() -> None:
    with pytest.raises(Refused):
        asyncio.run(gather(Said(), [asked("one fails")], request()))  # type: ignore[arg-type]
