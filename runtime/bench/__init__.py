"""What `unillm bench` runs."""
