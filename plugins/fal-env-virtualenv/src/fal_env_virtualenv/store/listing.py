"""The environments that are kept, as lists and commands show them."""

from __future__ import annotations

from fal_core.stores import StoredEntry, command_lines
from fal_env_virtualenv.store.environments import STORE, find_record


def list_environments() -> list[StoredEntry]:
    """Return the environments that are kept, the most recently used first."""
    listed = STORE.entries()
    return sorted(listed, key=lambda environment: environment.last_used, reverse=True)


def find_stored(prefix: str) -> StoredEntry:
    """
    Return the environment whose key, or digest, begins with *prefix*.

    Raises:
        OptionError: There is none, or more than one.
    """
    return STORE.describe(find_record(prefix), command_lines())
