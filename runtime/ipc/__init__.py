"""Typed messages between the processes of a server."""
