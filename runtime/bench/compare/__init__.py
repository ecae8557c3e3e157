"""unillm beside its peers: the same file, threads and prompts, in alternation."""
