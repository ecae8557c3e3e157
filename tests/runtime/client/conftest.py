"""The engine of the tests of servers."""

from unillm.tests.runtime.server.conftest import engine

__all__ = ["engine"]
