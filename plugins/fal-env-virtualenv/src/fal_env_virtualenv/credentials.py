"""
Credentials in addresses: they are in no key, record, log or error.
"""

from __future__ import annotations

import re

# Someone's name alone is a name over ssh, and mostly a token over http.
_PASSWORD = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)([^/@\s:]*):([^/@\s]*)@")
_TOKEN = re.compile(r"((?:[a-z]+\+)?https?://)([^/@\s]+)@")
_QUERY = re.compile(
    r"([?&#](?:[a-z_-]*(?:token|secret|signature|password)|sig|auth|key|api[-_]key)=)([^&#\s]+)",
    re.IGNORECASE,
)


def mask(text: str) -> str:
    """
    Return *text* with the credentials of its addresses as asterisks.
    """
    if "://" not in text:
        return text
    text = _PASSWORD.sub(r"\1***@", text)
    text = _TOKEN.sub(r"\1***@", text)
    return _QUERY.sub(r"\1***", text)


def without(text: str) -> str:
    """
    Return *text* with the credentials of its addresses taken out.

    Unlike what :func:`mask` returns, it is still an address.
    """
    if "://" not in text:
        return text
    text = _PASSWORD.sub(r"\1", text)
    text = _TOKEN.sub(r"\1", text)
    return _QUERY.sub(r"\1", text)
