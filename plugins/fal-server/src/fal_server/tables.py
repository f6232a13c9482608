"""
All tables: whoever opens the state without the whole server asks for them here.
"""

from __future__ import annotations

from collections.abc import Collection

from fal_server import (
    accounts,
    applications,
    environments,
    keys,
    logs,
    requests,
    uploads,
    vaults,
)

#: The modules that declare tables.
MODULES = (accounts, applications, environments, keys, logs, requests, uploads, vaults)


def declared() -> Collection[str]:
    """
    Return the names of all tables.
    """
    return frozenset(MODULES[0].metadata.tables)
