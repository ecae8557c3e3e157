"""A running server from Python: `Client`, and `AsyncClient` for programs with an event loop."""
