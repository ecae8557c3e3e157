"""Bounded readers of weight files: names, dtypes, shapes and where the bytes lie."""
