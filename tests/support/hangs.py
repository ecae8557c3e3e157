"""The bound of tests that ask for an end and not for a speed: machines are slow, and slower beside others."""

HANGS = 30.0  # seconds
