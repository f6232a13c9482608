"""Imports that are written at the top of a file and made at their first use."""
