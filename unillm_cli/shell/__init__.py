"""The interactive chat: what is typed, what is answered, and what is kept of both."""
