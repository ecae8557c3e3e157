"""From a model's weights to a GGUF of packed ones."""
