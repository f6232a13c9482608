"""
Server keys: the secret bytes of a server, in files of its data directory or, where servers on
several machines share a database, in there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import secrets
from collections.abc import Mapping
from pathlib import Path

import attrs
import sqlalchemy as sa

from fal_server.access.key_files import KEY_FILES, SECRETS, SIZE, KeyFiles
from fal_server.claims.kept_keys import StateKeys, insert_key, missing_keys
from fal_server.errors import KeyLost, ServerError, StateKeyLost
from fal_server.listeners.certificates import read_authority, write_authority
from fal_server.state.data_directories import DataDirectory
from fal_server.state.database_urls import is_file
from fal_server.state.databases import Database
from fal_server.store.vaults import Vault

#: The names of further keys in the state.
_METRICS, _AUTHORITY = "metrics.key", "authority"

#: The file with the key of the first user, as backups have it.
_OWNER = "owner.key"


@attrs.frozen
class ServerKeys:
    """
    The keys of a server.

    Attributes:
        directory: The data directory. None for a command on a machine that has none.

        secrets_file: The file of the key that encrypts secrets, if that is kept in neither
            the data directory nor the database.
    """

    database: Database
    directory: DataDirectory | None
    secrets_file: Path | None = None

    @property
    def are_in_state(self) -> bool:
        """Whether they are in the database: a file of SQLite is one machine's."""
        return not is_file(self.database.url)

    @property
    def _state(self) -> StateKeys:
        return StateKeys(self.database)

    @property
    def _files(self) -> KeyFiles:
        assert self.directory is not None
        return KeyFiles(self.directory)

    @property
    def _names(self) -> list[str]:
        return [name for name in KEY_FILES if name != SECRETS or self.secrets_file is None]

    def make_files(self) -> None:
        """Make the files that are missing, for a state in which nobody has an account yet."""
        if not self.are_in_state:
            self._files.make(self._names)

    def insert(self, connection: sa.Connection) -> None:
        """Put keys into a state in which nobody has an account yet."""
        if self.are_in_state:
            for name in missing_keys(connection, self._names):
                insert_key(connection, name, secrets.token_bytes(SIZE))

    def adopt_files(self) -> None:
        """Put those into the state that it lacks, and that are in files of the data directory."""
        if not self.are_in_state:
            return
        lacking = self.database.read_here(lambda it: missing_keys(it, self._names))
        for name in lacking:
            if self._files.has(name):
                self._state.find_or_make(name, functools.partial(self._files.read, name))

    def read(self, name: str) -> bytes:
        """
        Return a key.

        Raises:
            KeyLost: Its file is missing, or is not whole.

            StateKeyLost: It is not in the state.
        """
        if not self.are_in_state:
            return self._files.read(name)
        found = self._state.find(name)
        if found is None or found.value is None or len(found.value) != SIZE:
            raise StateKeyLost(name, self._url, KEY_FILES[name])
        return found.value

    def check(self) -> None:
        """
        Check that no key is lost, before one is needed.

        Raises:
            KeyLost, StateKeyLost: As :meth:`read` does.
        """
        for name in KEY_FILES:
            if name != SECRETS:
                self.read(name)

    def describe(self, name: str) -> str:
        """Return where a key is, in words."""
        if name == SECRETS and self.secrets_file is not None:
            return str(self.secrets_file)
        if self.directory is None or self.are_in_state:
            return f"{name} in {self._url}"
        return str(self.directory.path / name)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """
        Keep servers out, as far as they can be: none starts on the data directory meanwhile.

        Raises:
            DataInUse: One runs there.
        """
        if self.directory is None:
            return contextlib.nullcontext()
        return self.directory.locked()

    def replace(self, name: str) -> None:
        """
        Make another key in the place of one. That of secrets is the one in
        :attr:`secrets_file`, if there is such a file.
        """
        if name == SECRETS and self.secrets_file is not None:
            self._state.put(name, None, _digest(self._read_secrets_file(self.secrets_file)))
        elif self.are_in_state:
            self._state.put(name, secrets.token_bytes(SIZE))
        else:
            self._files.replace(name)
            if name == SECRETS:
                self._state.forget(name)

    def open_vault(self) -> Vault:
        """
        Return the secrets of all accounts.

        Raises:
            ServerError: Their key is lost, or is another one.
        """
        found = self._state.find(SECRETS)
        digest = found.digest if found is not None else None
        if self.secrets_file is not None:
            return self._open_with(self.secrets_file, digest)
        if digest is not None:
            raise ServerError(
                "The key that encrypts secrets is kept outside of the state, which knows it. "
                "Name its file by '--secrets-key'."
            )
        vault = Vault(self.database, self.read(SECRETS))
        if not vault.has_right_key():
            why = "is not the key with which the secrets of the state were encrypted"
            if self.directory is None or self.are_in_state:
                raise StateKeyLost(SECRETS, self._url, KEY_FILES[SECRETS], why)
            raise KeyLost(str(self.directory.path / SECRETS), why, KEY_FILES[SECRETS])
        return vault

    def _open_with(self, file: Path, digest: str | None) -> Vault:
        key = self._read_secrets_file(file)
        vault = Vault(self.database, key)
        is_right = vault.has_right_key() if digest is None else digest == _digest(key)
        if not is_right:
            raise ServerError(
                f"{file} is not the key with which the secrets of the state were encrypted. "
                "Name the right one by '--secrets-key', or give them up with 'fal-core server "
                f"replace-key {SECRETS}' and this one: {KEY_FILES[SECRETS]}."
            )
        if digest is None:
            # From now on it is not in the state, if it was.
            self._state.put(SECRETS, None, _digest(key))
        return vault

    def _read_secrets_file(self, file: Path) -> bytes:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ServerError(
                f"The key that encrypts secrets cannot be read from {file}: {error.strerror}. "
                f"Make one with 'openssl rand -hex {SIZE}', for all servers of a state."
            ) from error
        if len(content) == SIZE:
            return content
        try:
            key = bytes.fromhex(content.decode("ascii").strip())
        except ValueError:
            key = b""
        if len(key) != SIZE:
            raise ServerError(
                f"{file} has no key: it must have {SIZE} bytes, or {2 * SIZE} hexadecimal "
                f"digits, as 'openssl rand -hex {SIZE}' prints them."
            )
        return key

    def read_metrics_key(self) -> str:
        """
        Return what readers of the metrics have to show, which a file of the data directory has
        too. It is made if there is none.
        """
        if not self.are_in_state:
            return self._files.read_metrics_key()
        made = self._state.find_or_make(_METRICS, lambda: secrets.token_urlsafe(SIZE).encode())
        self._files.write_metrics_key(made)
        return made.decode()

    def share_authority(self) -> None:
        """
        Have the authority of the certificates that all servers of the state have: runners and
        clients that trust one of them trust all.
        """
        if not self.are_in_state:
            return
        assert self.directory is not None
        directory = self.directory
        shared = self._state.find_or_make(_AUTHORITY, lambda: read_authority(directory))
        write_authority(directory, shared)

    def read_all(self) -> dict[str, bytes]:
        """Return all keys that are here by their names, for a backup."""
        found: dict[str, bytes] = {}
        if self.directory is not None and self.directory.key_file.exists():
            found[_OWNER] = self.directory.key_file.read_bytes()
        for name in (*KEY_FILES, _METRICS, _AUTHORITY):
            if self.are_in_state:
                kept = self._state.find(name)
                if kept is not None and kept.value is not None:
                    found[name] = kept.value
            elif name in KEY_FILES and self._files.has(name):
                found[name] = self._files.read(name)
        if not self.are_in_state and self.directory is not None:
            found[_METRICS] = self._files.read_metrics_key().encode()
            found[_AUTHORITY] = read_authority(self.directory)
        return found

    def write_all(self, keys: Mapping[str, bytes]) -> None:
        """Put keys from a backup where those of this server are, which has none yet."""
        assert self.directory is not None
        for name, value in keys.items():
            if name == _OWNER:
                self.directory.write_private(self.directory.key_file, value)
            elif self.are_in_state:
                self._state.find_or_make(name, functools.partial(bytes, value))
            elif name == _AUTHORITY:
                write_authority(self.directory, value)
            else:
                self.directory.write_private(self.directory.path / name, value)
            kept = self._state.find(name)
            if not self.are_in_state and kept is not None and kept.value is not None:
                self._state.forget(name)

    @property
    def _url(self) -> str:
        return sa.engine.make_url(self.database.url).render_as_string(hide_password=True)


def _digest(key: bytes) -> str:
    return hashlib.sha256(b"fal-core secrets\0" + key).hexdigest()
