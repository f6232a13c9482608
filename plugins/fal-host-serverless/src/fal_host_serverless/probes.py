"""
Probes: whether anything listens.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

_LOCAL = ("127.0.0.1", "localhost", "::1")


def is_open(url: str) -> bool:
    """
    Tell whether something of this machine listens at *url*.

    It says no of an address elsewhere: a gateway listens whatever is behind it.
    """
    parts = urlsplit(url)
    if parts.hostname not in _LOCAL or parts.port is None:
        return False
    try:
        with socket.create_connection((parts.hostname, parts.port), 0.5):
            return True
    except OSError:
        return False
