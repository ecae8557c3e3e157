"""Which models are loaded, where each of them runs, and what is asked of them."""
