"""
Key files: the secret bytes of the data directory, which are made once and never replaced
unasked.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from fal_server.errors import KeyLost
from fal_server.state.data_directories import DataDirectory
from fal_server.state.databases import Database
from fal_server.store.vaults import Vault

#: The bytes of a key.
_SIZE = 32

#: The files, and what ends when one is replaced.
KEY_FILES: Mapping[str, str] = {
    "secrets.key": "all secrets have to be set again",
    "signing.key": "tokens, logins, upload URLs and the keys of running runners end",
    "webhooks.key": "receivers of webhooks need the new secrets of their accounts",
}


def make_keys(directory: DataDirectory) -> None:
    """
    Make the files that are missing, for a state in which nobody has an account yet.
    """
    for name in KEY_FILES:
        if not (directory.path / name).exists():
            replace_key(directory, name)


def replace_key(directory: DataDirectory, name: str) -> None:
    """
    Write a new key.
    """
    directory.write_private(directory.path / name, secrets.token_bytes(_SIZE))


def read_key(directory: DataDirectory, name: str) -> bytes:
    """
    Return the key in a file of the data directory.

    Raises:
        KeyLost: The file is missing, or is not whole.
    """
    path = directory.path / name
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        raise KeyLost(str(path), "is missing", KEY_FILES[name]) from None
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
        raise KeyLost(str(path), why, KEY_FILES[name]) from error
    if len(key) != _SIZE:
        why = f"is not whole: it has {len(key)} bytes, and not {_SIZE}" if key else "is empty"
        raise KeyLost(str(path), why, KEY_FILES[name])
    return key


def open_vault(database: Database, directory: DataDirectory) -> Vault:
    """
    Return the secrets of all accounts.

    Raises:
        KeyLost: Their key is lost, or is another one.
    """
    name = "secrets.key"
    vault = Vault(database, read_key(directory, name))
    if not vault.has_right_key():
        why = "is not the key with which the secrets of the state were encrypted"
        raise KeyLost(str(directory.path / name), why, KEY_FILES[name])
    return vault


def read_metrics_key(directory: DataDirectory) -> str:
    """
    Return what readers of the metrics have to show, from a file of the data directory that
    is made where it is missing or empty.
    """
    path = directory.metrics_key_file
    if not path.exists() or not path.read_text().strip():
        directory.write_private(path, secrets.token_urlsafe(_SIZE).encode())
    return path.read_text().strip()
