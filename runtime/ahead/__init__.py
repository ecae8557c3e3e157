"""Steps that a device computes while the host prepares the next."""
