"""What a model writes in a conversation, told apart: what it says, what it thinks, which tools it wants called."""
