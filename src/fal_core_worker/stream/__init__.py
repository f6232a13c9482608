"""The stream between a worker and the process that launched it."""
