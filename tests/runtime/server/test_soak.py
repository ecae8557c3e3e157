"""Ten minutes of clients of all kinds, many of whom vanish: the server holds no more in the end than in the beginning.

Prompts are few and answers greedy, so that the prefix cache, which may grow as long as there is memory, soon has them
all. Every few seconds all clients stand still; then every page must be back, and what the processes hold is noted.
"""

import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import linear_regression
from time import monotonic, sleep

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from unillm.tests.support.hosts import until
from unillm.tests.support.serving import Serving, serving
from unillm.tests.support.talking import talking_model

MINUTES = 10
_CLIENTS = 8
_BETWEEN = 12.0  # seconds from one look to the next
# Its own, two for each process that it talks to, and a pool that is filled as it is needed and never grows beyond.
_FRONT_THREADS = 1 + 2 * 2 + min(32, (os.cpu_count() or 1) + 4)
_SETTLED = 120.0  # seconds: what every process needs once is there by then


@dataclass(frozen=True)
class Look:
    """What the server's processes hold while nobody asks anything. `at` in seconds since the start."""

    at: float
    rss: int
    files: tuple[int, ...]
    threads: tuple[int, ...]


class Clients:
    """Threads that ask and vanish, unless they are told to stand still."""

    def __init__(self, served: Serving) -> None:
        self._served = served
        self._may = threading.Event()
        self._over = threading.Event()
        self._gate = threading.Lock()
        self._asking = 0
        self.counts = dict.fromkeys(("whole", "streamed", "vanished", "tokenized"), 0)
        self.wrong: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(Random(seed),)) for seed in range(_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def go_on(self) -> None:
        self._may.set()

    def stand_still(self) -> None:
        self._may.clear()
        until(lambda: self._asking == 0, 60)

    def end(self) -> None:
        self._over.set()
        self._may.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, random: Random) -> None:
        while not self._over.is_set():
            self._may.wait()
            with self._gate:
                self._asking += self._may.is_set()
                if not self._may.is_set():
                    continue
            try:
                self._one(random)
            except (httpx.HTTPError, OSError, AssertionError) as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
            finally:
                with self._gate:
                    self._asking -= 1

    def _one(self, random: Random) -> None:
        kind = random.choices(list(self.counts), (3, 3, 4, 1))[0]
        prompt, tokens = f"number {random.randrange(32)}", random.randrange(1, 80)
        if kind == "vanished":
            self._vanish(random, prompt)
        elif kind == "tokenized":
            assert self._served.post("/tokenize", text=prompt).status_code == 200
        elif kind == "whole":
            self._whole(random, prompt, tokens)
        else:
            self._streamed(prompt, tokens)
        with self._gate:
            self.counts[kind] += 1

    def _whole(self, random: Random, prompt: str, tokens: int) -> None:
        said = [{"role": "user", "content": prompt}]
        path, body = random.choice(
            [
                ("/v1/completions", {"prompt": prompt, "max_tokens": tokens, "temperature": 0}),
                ("/v1/chat/completions", {"messages": said, "max_tokens": tokens, "temperature": 0}),
                ("/v1/messages", {"messages": said, "max_tokens": tokens, "temperature": 0}),
                (
                    "/api/chat",
                    {"messages": said, "stream": False, "options": {"num_predict": tokens, "temperature": 0}},
                ),
            ]
        )
        answer = self._served.post(path, **body)
        assert answer.status_code == 200, answer.text

    def _streamed(self, prompt: str, tokens: int) -> None:
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True}
        answer = self._served.post("/v1/completions", **body)
        assert (answer.status_code, answer.text.endswith("data: [DONE]\n\n")) == (200, True), answer.text

    def _vanish(self, random: Random, prompt: str) -> None:
        """At any point of a request or of its answer, with FIN or with RST."""
        body = json.dumps(
            {"model": self._served.model, "prompt": prompt, "max_tokens": 400, "temperature": 0, "stream": True}
        ).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        host, port = self._served.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as line, suppress(ConnectionError):
            line.sendall((head + body)[: random.choice((0, 10, len(head), None))])
            line.settimeout(random.random())
            with suppress(TimeoutError):
                for _ in range(random.randrange(5)):
                    line.recv(random.randrange(1, 400))
            if random.random() < 0.5:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    flags = ("--keep-alive", "-1", "--quiet")
    with serving(talking_model(tmp_path / "talking"), tmp_path / "home", flags) as server:
        yield server


@pytest.mark.soak
@pytest.mark.slow
def test_ten_minutes_of_clients_that_vanish_leave_the_server_as_it_was(served: Serving) -> None:
    processes = [psutil.Process(served.process.pid), *psutil.Process(served.process.pid).children()]
    clients, looks, began = Clients(served), list[Look](), monotonic()
    try:
        while monotonic() - began < MINUTES * 60:
            clients.go_on()
            sleep(_BETWEEN)
            clients.stand_still()
            until(lambda: _numbers(served)["sequence_pages"] == 0, 30)
            looks.append(_look(processes, monotonic() - began))
    finally:
        clients.end()
    settled = [look for look in looks if look.at > _SETTLED]
    slope = _slope([(look.at / 60, look.rss / 1e6) for look in settled])
    print(
        f"{sum(clients.counts.values())} requests {clients.counts}; {len(settled)} looks; {slope:+.3f} MB a minute;"
        f" files {sorted({look.files for look in settled})}, threads {sorted({look.threads for look in settled})};"
        f" {settled[0].rss / 1e6:.1f} to {settled[-1].rss / 1e6:.1f} MB"
    )
    assert clients.wrong == []
    assert slope < 1.0
    assert len({look.files for look in settled}) == 1
    assert len({look.threads[1:] for look in settled}) == 1
    assert max(look.threads[0] for look in settled) <= _FRONT_THREADS


def _numbers(served: Serving) -> dict[str, float]:
    """Of the model; none of its pages may be lost."""
    found = {
        sample.name.removeprefix("unillm_"): sample.value
        for family in text_string_to_metric_families(served.get("/metrics").text)
        for sample in family.samples
        if family.type == "gauge" and "model" in sample.labels
    }
    if found["sequence_pages"] == 0:
        assert found["free_pages"] + found["cached_pages"] == found["pages"]
    return found


def _look(processes: list[psutil.Process], at: float) -> Look:
    """Once the server has let go of the last connection."""
    until(lambda: {one.status for one in processes[0].net_connections("tcp")} == {"LISTEN"}, 30)
    return Look(
        at,
        sum(process.memory_info().rss for process in processes),
        tuple(process.num_fds() for process in processes),
        tuple(process.num_threads() for process in processes),
    )


def _slope(points: list[tuple[float, float]]) -> float:
    """Of the straight line with the least squares."""
    return linear_regression(*zip(*points, strict=True)).slope
