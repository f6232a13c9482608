"""What a function that serves requests may use, in a worker and outside."""
