"""Text families, a file each: only what differs from the shared parts."""
