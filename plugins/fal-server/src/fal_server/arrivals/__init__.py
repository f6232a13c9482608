"""Arrivals: files as they arrive, in one piece and in parts, and parts made into one file."""
