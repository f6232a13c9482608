"""
The data directory: what lies in it, and that one server at a time uses it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from fal_server.errors import DataInUse, ServerError


@attrs.frozen
class DataDirectory:
    """
    The data directory of a server. Nobody but its owner may look into it.
    """

    path: Path

    def __attrs_post_init__(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ServerError(
                f"{self.path} cannot be the data directory: {error.strerror}."
            ) from error

    @property
    def key_file(self) -> Path:
        """
        Where the first key is kept.
        """
        return self.path / "owner.key"

    @property
    def addresses_file(self) -> Path:
        """
        Where a server that runs writes which ports it has.
        """
        return self.path / "addresses.json"

    @property
    def tls(self) -> Path:
        """
        Where certificates are kept.
        """
        return self.path / "tls"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """
        Hold the directory for one server. However it ends, it lets go.

        Raises:
            DataInUse: Another server holds it.
        """
        file = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                text = os.read(file, 32).strip()
                raise DataInUse(str(self.path), int(text) if text.isdigit() else None) from None
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(file)

    def write_private(self, path: Path, content: bytes) -> None:
        """
        Write a file that only the owner reads, whole or not at all.
        """
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)

    def write_addresses(self, ports: Mapping[str, int], host: str) -> None:
        """
        Tell other processes where the server is.
        """
        content = {"host": host, "ports": dict(ports), "pid": os.getpid()}
        self.write_private(self.addresses_file, json.dumps(content).encode())

    def read_addresses(self) -> tuple[str, Mapping[str, int]]:
        """
        Return the host and the ports of the server that runs, or ran last.

        Raises:
            ServerError: None has run here.
        """
        try:
            content = json.loads(self.addresses_file.read_bytes())
            return str(content["host"]), {
                str(door): int(port) for door, port in content["ports"].items()
            }
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ServerError(
                f"No server has run on {self.path}. Start one with 'fal-core server start'."
            ) from error

    def read_key(self) -> str:
        """
        Return the key that the first start has made, empty where there is none.
        """
        with contextlib.suppress(OSError):
            return self.key_file.read_text().strip()
        return ""
