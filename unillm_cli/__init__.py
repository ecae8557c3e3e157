"""The door for people: commands, output, error sentences. Imports no torch when it starts."""
