"""From mapped files to the weights of a model."""
