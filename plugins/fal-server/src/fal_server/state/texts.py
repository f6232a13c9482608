"""
Text that can be stored and sent.
"""

from __future__ import annotations


def valid_text(text: str) -> str:
    """
    Return *text* with each half of a surrogate pair replaced: neither a database nor a
    message of the protocol takes one. File names that are not UTF-8 have them.
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
