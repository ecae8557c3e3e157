"""Names and files: what a model is called, where its bytes come from, and whether they are the right ones. No torch."""
