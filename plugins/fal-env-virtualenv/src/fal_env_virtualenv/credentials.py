"""
Credentials in addresses: they are in no key, record, log or error.
"""

from __future__ import annotations

import re

# Someone's name alone is a name over ssh, and mostly a token over http.
_PASSWORD = r"([a-zA-Z][a-zA-Z0-9+.-]*://)([^/@\s:]*):([^/@\s]*)@"
_TOKEN = r"((?:[a-z]+\+)?https?://)([^/@\s]+)@"
_QUERY = (
    r"(?i)([?&#](?:[a-z_-]*(?:token|secret|signature|password)|sig|auth|key|api[-_]key)=)"
    r"([^&#\s]+)"
)


def mask(text: str) -> str:
    """
    Return *text* with the credentials of its addresses as asterisks.
    """
    return _replaced(text, r"\1***@", r"\1***")


def without(text: str) -> str:
    """
    Return *text* with the credentials of its addresses taken out.

    Unlike what :func:`mask` returns, it is still an address.
    """
    return _replaced(text, r"\1", r"\1")


def _replaced(text: str, user: str, value: str) -> str:
    if "://" not in text:
        return text
    text = re.sub(_TOKEN, user, re.sub(_PASSWORD, user, text))
    return re.sub(_QUERY, value, text)
