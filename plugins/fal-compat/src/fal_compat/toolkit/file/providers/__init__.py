"""Repositories: the places that files are kept in."""
