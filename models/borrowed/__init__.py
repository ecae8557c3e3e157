"""Decoders that nobody wrote down here, computed by the classes of the `transformers` package where it is installed."""
