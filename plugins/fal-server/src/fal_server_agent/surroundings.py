"""
Surroundings: the environment variables that an agent inherits from its server.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping

#: Variables that hold credentials, judging by their names.
_NAMED = re.compile(r"(UV|PIP)_\w*(PASSWORD|USERNAME|TOKEN|KEYRING\w*)")

#: Variables that may hold URLs, and a URL with credentials.
_OF_INDEXES = re.compile(r"(UV|PIP)_\w+")
_ADDRESS = re.compile(r"://[^/@\s]+@")


def forget_credentials(variables: MutableMapping[str, str]) -> None:
    """
    Remove the credentials of package indexes, which only builds need, from *variables*.
    """
    for name, value in list(variables.items()):
        addressed = _OF_INDEXES.fullmatch(name) and _ADDRESS.search(value)
        if addressed or _NAMED.fullmatch(name):
            del variables[name]
