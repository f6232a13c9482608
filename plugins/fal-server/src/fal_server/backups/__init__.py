"""Backups: all of a server in one file, and servers that are made of such a file."""
