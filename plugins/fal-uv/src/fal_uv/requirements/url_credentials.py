"""Credentials in URLs, which are kept out of keys, records, logs and errors."""

from __future__ import annotations

import re

# A user name without a password is just a name over ssh, and usually a token over HTTP.
_PASSWORD = r"([a-zA-Z][a-zA-Z0-9+.-]*://)([^/@\s:]*):([^/@\s]*)@"
_TOKEN = r"((?:[a-z]+\+)?https?://)([^/@\s]+)@"
_QUERY = (
    r"(?i)([?&#](?:[a-z_-]*(?:token|secret|signature|password)|sig|auth|key|api[-_]key)=)"
    r"([^&#\s]+)"
)


def mask(text: str) -> str:
    """Return *text* with asterisks in place of the credentials in its URLs."""
    return _replace(text, r"\1***@", r"\1***")


def strip(text: str) -> str:
    """
    Return *text* without the credentials in its URLs.

    Unlike the result of :func:`mask`, it still holds URLs that can be fetched.
    """
    return _replace(text, r"\1", r"\1")


def _replace(text: str, user: str, value: str) -> str:
    if "://" not in text:
        return text
    text = re.sub(_TOKEN, user, re.sub(_PASSWORD, user, text))
    return re.sub(_QUERY, value, text)
