"""
The data directory: only its owner can read it.
"""

from __future__ import annotations


def test_secret_files_are_private(plane):
    """
    The data directory and all keys in it are for their owner alone.
    """
    assert plane.directory.path.stat().st_mode & 0o077 == 0
    names = ["owner.key", "signing.key", "secrets.key", "tls/ca.key", "tls/server.pem"]
    for name in names:
        assert (plane.directory.path / name).stat().st_mode & 0o777 == 0o600, name
