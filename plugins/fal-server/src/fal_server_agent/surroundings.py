"""
Surroundings: the environment variables that an agent has from the server that started it.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping

#: Settings of indexes that are credentials by their name.
_NAMED = re.compile(r"(UV|PIP)_\w*(PASSWORD|USERNAME|TOKEN|KEYRING\w*)")

#: Those that may hold addresses, and an address with credentials.
_OF_INDEXES = re.compile(r"(UV|PIP)_\w+")
_ADDRESS = re.compile(r"://[^/@\s]+@")


def forget_credentials(variables: MutableMapping[str, str]) -> None:
    """
    Remove from *variables* the credentials of package indexes, which builds alone need.
    """
    for name, value in list(variables.items()):
        addressed = _OF_INDEXES.fullmatch(name) and _ADDRESS.search(value)
        if addressed or _NAMED.fullmatch(name):
            del variables[name]
