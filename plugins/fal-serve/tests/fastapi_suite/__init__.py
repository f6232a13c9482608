"""FastAPI's own test suite, run with FalFastAPI in the place of FastAPI."""
