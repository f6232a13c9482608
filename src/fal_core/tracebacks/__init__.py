"""Tracebacks: what the caller sees of an error, from the line that has made the call."""
