"""A stand-in for a server of OpenAI's language, with the habits of several: it counts two tokens a word, and answers
with a letter a token.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep
from typing import Any


@dataclass
class Habits:
    """`tells_usage` at the end of a stream; `knows_eos`: takes `ignore_eos`; one request in `fails` fails; `first` and
    `each` are seconds before the first token and before every other one.
    """

    tells_usage: bool = True
    knows_eos: bool = True
    fails: int = 0
    first: float = 0.0
    each: float = 0.0
    model: str = "stub"
    heard: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    most: int = 0
    gate: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def endpoint(habits: Habits, port: int = 0) -> Iterator[str]:
    """Its address, before `/completions`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._whole({"data": [{"id": habits.model}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with habits.gate:
                habits.heard.append(body)
                number = sum(1 for one in habits.heard if one.get("stream"))
                habits.running += 1
                habits.most = max(habits.most, habits.running)
            try:
                self._answer(body, number)
            finally:
                with habits.gate:
                    habits.running -= 1

        def _answer(self, body: dict[str, Any], number: int) -> None:
            if "ignore_eos" in body and not habits.knows_eos:
                return self._whole({"error": {"message": "ignore_eos is not known"}}, 400)
            if body.get("stream") and habits.fails and number % habits.fails == 0:
                return self._whole({"error": {"message": "busy"}}, 503)
            text = body.get("prompt") or body["messages"][0]["content"]
            usage = {"prompt_tokens": 2 * len(text.split()), "completion_tokens": body["max_tokens"]}
            if not body.get("stream"):
                return self._whole({"choices": [{"text": "a"}], "usage": usage})
            return self._streamed("messages" in body, body["max_tokens"], usage)

        def _streamed(self, chat: bool, tokens: int, usage: dict[str, int]) -> None:
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            if chat:
                self._event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
            for place in range(tokens):
                sleep(habits.each if place else habits.first)
                self._event({"choices": [{"delta": {"content": "a"}} if chat else {"text": "a"}]})
            if habits.tells_usage:
                self._event({"choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True

        def _event(self, event: dict[str, Any]) -> None:
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.wfile.flush()

        def _whole(self, told: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            """Nowhere."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as there:
        thread = threading.Thread(target=there.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{there.server_address[1]}/v1"
        there.shutdown()
        thread.join()
