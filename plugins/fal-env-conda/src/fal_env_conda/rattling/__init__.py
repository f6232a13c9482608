"""Rattler, in a process of its own: what solves and installs conda packages."""
