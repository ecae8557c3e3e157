"""A hub that is out of reach is given up within seconds, once for all who ask."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unillm.registry.errors import SourceUnreachable
from unillm.registry.pull import plan
from unillm.registry.settings import RegistrySettings
from unillm.registry.sources.reach import told


class Stalling(ThreadingHTTPServer):
    """Says that it is there, and never answers a question."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.over = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Stalling  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.over.wait(60)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the one it replaces
        return


@pytest.fixture
def stalling() -> Iterator[Stalling]:
    server = Stalling()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_hub_that_lists_nothing_in_time_is_out_of_reach_for_every_offer(
    stalling: Stalling, settings: RegistrySettings
) -> None:
    patient = replace(settings, offline=False, endpoint=f"http://127.0.0.1:{stalling.server_port}", patience=0.5)
    assert plan("smollm2:135m", patient).source == "the package index"
    assert len(stalling.asked) == 1
    with pytest.raises(SourceUnreachable, match="timed out"):
        plan("org/repo", patient)
    assert len(stalling.asked) == 1


def test_why_a_connection_failed_is_told_without_the_systems_number_for_it() -> None:
    assert told(OSError("[Errno -2] Name or service not known")) == "Name or service not known"
    assert told(TimeoutError()) == "TimeoutError"
