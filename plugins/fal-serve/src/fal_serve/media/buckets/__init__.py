"""Buckets: stores of an application or of its caller, which keep files in place of the server."""
