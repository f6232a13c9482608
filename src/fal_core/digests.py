"""
Digests of functions, archives and environments.

``hashlib`` loads OpenSSL, which takes 3 ms, a tenth of importing fal_core; the standard
library's ``random`` avoids it in the same way.
"""

from __future__ import annotations

__all__ = ["blake2b", "digest"]

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b


def digest(data: bytes, size: int = 20) -> str:
    """Return the digest of *data*, *size* bytes long, in hexadecimal digits."""
    return blake2b(data, digest_size=size).hexdigest()
