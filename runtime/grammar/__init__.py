"""What an answer must look like, and how every token of it is held to that."""
