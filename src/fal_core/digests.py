"""
Digests of what is kept: functions, archives, environments.

``hashlib`` loads OpenSSL, which takes longer than all that a program digests before
its first call. The ``random`` of the standard library goes the same way around it.
"""

from __future__ import annotations

__all__ = ["blake2b", "digest"]

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b


def digest(data: bytes, size: int = 20) -> str:
    """
    Return the digest of *data*, *size* bytes long, in hexadecimal digits.
    """
    return blake2b(data, digest_size=size).hexdigest()
