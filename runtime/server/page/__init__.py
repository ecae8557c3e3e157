"""The page that people chat on, and what it asks that no other dialect tells."""
