"""
Key files: the secret bytes of the data directory, which are made once and never replaced
unasked.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping

import attrs

from fal_server.errors import KeyLost
from fal_server.state.data_directories import DataDirectory

#: The bytes of a key.
SIZE = 32

#: The key that encrypts secrets.
SECRETS = "secrets.key"

#: The files, and what ends when one is replaced.
KEY_FILES: Mapping[str, str] = {
    SECRETS: "all secrets have to be set again",
    "signing.key": "tokens, logins, upload URLs and the keys of running runners end",
    "webhooks.key": "receivers of webhooks have to fetch the keys of signatures again",
}


@attrs.frozen
class KeyFiles:
    """The keys in files of a data directory."""

    directory: DataDirectory

    def has(self, name: str) -> bool:
        """Return whether there is such a file."""
        return (self.directory.path / name).exists()

    def make(self, names: Iterable[str]) -> None:
        """Make those of *names* that are missing."""
        for name in names:
            if not self.has(name):
                self.replace(name)

    def replace(self, name: str) -> None:
        """Write a new key."""
        self.directory.write_private(self.directory.path / name, secrets.token_bytes(SIZE))

    def read(self, name: str) -> bytes:
        """
        Return the key in a file.

        Raises:
            KeyLost: The file is missing, or is not whole.
        """
        path = self.directory.path / name
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            raise KeyLost(str(path), "is missing", KEY_FILES[name]) from None
        except OSError as error:
            why = f"cannot be read ({error.strerror})"
            raise KeyLost(str(path), why, KEY_FILES[name]) from error
        if len(key) != SIZE:
            why = (
                f"is not whole: it has {len(key)} bytes, and not {SIZE}" if key else "is empty"
            )
            raise KeyLost(str(path), why, KEY_FILES[name])
        return key

    def read_metrics_key(self) -> str:
        """
        Return what readers of the metrics have to show. It is made where it is missing or
        empty.
        """
        path = self.directory.metrics_key_file
        if not path.exists() or not path.read_text().strip():
            self.write_metrics_key(secrets.token_urlsafe(SIZE).encode())
        return path.read_text().strip()

    def write_metrics_key(self, key: bytes) -> None:
        """Write what readers of the metrics have to show."""
        self.directory.write_private(self.directory.metrics_key_file, key)
