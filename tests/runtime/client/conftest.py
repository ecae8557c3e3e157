"""The server of the tests of servers."""

from unillm.tests.runtime.server.conftest import engine, server

__all__ = ["engine", "server"]
