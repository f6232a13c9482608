"""Policies: what the caller of a request says of the files that are made for it."""
