"""Tokens that are guessed before they are chosen, so that one step of the model may yield several."""
