"""Layers made of operations, shared by all families."""
