"""Tokens in time: engine, scheduler, cache, sampler."""
