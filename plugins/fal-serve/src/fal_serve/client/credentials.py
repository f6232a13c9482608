"""The key that a client sends, and what is said where it sends none."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

#: Names of this machine, which a key does not leave.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def credentials(url: str) -> dict[str, str]:
    """
    Return the headers for the key in ``FAL_KEY``.

    It is sent only over encrypted connections, and to this machine.
    """
    key = os.environ.get("FAL_KEY")
    return {"authorization": f"Key {key}"} if key and _is_private(url) else {}


def explain_missing_key(url: str) -> str:
    """Return a sentence on why a request to *url* had no key."""
    if not os.environ.get("FAL_KEY"):
        return "No key was sent, as FAL_KEY is not set."
    if not _is_private(url):
        return (
            "The key in FAL_KEY was not sent, as the connection is not encrypted. Use https, "
            "or give headers={'authorization': 'Key ID:SECRET'}."
        )
    return "No key was sent: give it in headers=, or leave headers out."


def _is_private(url: str) -> bool:
    return url.startswith("https://") or urlsplit(url).hostname in _LOOPBACK
