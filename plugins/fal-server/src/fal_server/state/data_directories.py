"""The data directory: its files, and the lock that keeps other servers out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from fal_core.caches import try_lock, unlock, write_atomically
from fal_server.errors import DataInUse, ServerError, StateLost

#: The permissions of other users.
_OTHERS = 0o077

#: A directory with one of these is the data directory of a server.
_SIGNS = frozenset({"state.db", "secrets.key", "owner.key", "addresses.json"})
#: A server that was killed as it started may have left these alone, the last ones where its
#: state is in a database elsewhere.
_LEFTOVERS = frozenset({"lock", "tls", "metrics.key", "spool", "blobs", "requests"})

#: A key, as the file of the first user has it.
_KEY = re.compile(r"[^:\s]+:[0-9a-f]{64}")

#: The directory for the sockets of runners where the path of this one is too long.
_SHALLOW = "/tmp"

#: The longest path of the directory for the sockets of runners, in bytes. An address has 103,
#: with the id of the runner and the name of the socket.
_LONGEST_SOCKETS = 103 - len("/0123456789abcdef/control")


@attrs.frozen
class DataDirectory:
    """The data directory of a server. Only its owner can read it."""

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
        """The file with the key of the first user."""
        return self.path / "owner.key"

    @property
    def metrics_key_file(self) -> Path:
        """The file with what readers of the metrics have to show."""
        return self.path / "metrics.key"

    @property
    def addresses_file(self) -> Path:
        """The file in which a running server notes its ports."""
        return self.path / "addresses.json"

    @property
    def sockets(self) -> Path:
        """
        The directory of the directories with the sockets of runners: in this one, or where
        a link in this one leads.
        """
        place = self.path / "sockets"
        return Path(os.readlink(place)) if place.is_symlink() else place

    def make_sockets(self) -> Path:
        """
        Return that directory. Where the path of this one is too long for the addresses of
        sockets, it is made elsewhere, with a name that nobody can foresee.

        Raises:
            ServerError: It cannot be made.
        """
        place = self.path.absolute() / "sockets"
        if len(os.fsencode(place)) <= _LONGEST_SOCKETS:
            return place
        digest = hashlib.sha256(os.fsencode(self.path.absolute())).hexdigest()[:8]
        prefix = f"fal-{digest}-runners-"
        # The link of a copied data directory leads to the sockets of another server.
        is_ours = place.is_symlink() and self.sockets.name.startswith(prefix)
        if not (is_ours and _is_private(self.sockets)):
            with _told(place):
                if place.is_symlink():
                    place.unlink()
                elif place.exists():
                    shutil.rmtree(place)
                place.symlink_to(tempfile.mkdtemp(prefix=prefix, dir=_SHALLOW))
        return self.sockets

    def drop_sockets(self, *, if_empty: bool = False) -> None:
        """
        Remove the directory of the sockets of runners.

        Arguments:
            if_empty: Remove it only where it is elsewhere and no runner has any.
        """
        sockets, place = self.sockets, self.path / "sockets"
        with contextlib.suppress(OSError):
            if not place.is_symlink():
                if not if_empty:
                    shutil.rmtree(sockets)
                return
            if if_empty:
                sockets.rmdir()
            elif _is_private(sockets):
                shutil.rmtree(sockets)
            place.unlink()

    @property
    def tls(self) -> Path:
        """The directory of the certificates."""
        return self.path / "tls"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """
        Lock the directory for one server. The lock ends with the process.

        A directory that others may read is closed to them, if it is empty or a server's.

        Raises:
            DataInUse: Another server has locked it.

            ServerError: It cannot be written, belongs to another user, or has other files.
        """
        with _told(self.path):
            self._claim()
        path = self.path / "lock"
        with _told(self.path):
            lock = try_lock(path, shared=False, create=True, mode=0o600)
            if lock is None:
                text = path.read_bytes().strip()
                raise DataInUse(str(self.path), int(text) if text.isdigit() else None)
        try:
            with _told(self.path):
                os.ftruncate(lock, 0)
                os.pwrite(lock, str(os.getpid()).encode(), 0)
            yield
        finally:
            unlock(lock)

    def _claim(self) -> None:
        """Check that the directory may be a server's, and close it to other users."""
        found = self.path.stat()
        if found.st_uid != os.geteuid():
            raise ServerError(
                f"{self.path} belongs to another user. Choose a directory of yours by '--data'."
            )
        names = set(os.listdir(self.path))
        if not names & _SIGNS and not names <= _LEFTOVERS:
            raise ServerError(
                f"{self.path} is not the data directory of a server, and is not empty. Choose "
                "an empty or a new directory by '--data'."
            )
        if found.st_mode & _OTHERS:
            self.path.chmod(0o700)
        for each in self.path.iterdir():
            if each.is_file() and each.stat().st_mode & _OTHERS:
                each.chmod(0o600)

    def make_private(self, name: str) -> None:
        """
        Make an empty file that only the owner can read, unless it exists.

        Raises:
            ServerError: It cannot be written.
        """
        path = self.path / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with _told(path), contextlib.suppress(FileExistsError):
            os.close(os.open(path, flags, 0o600))

    @property
    def was_used(self) -> bool:
        """Whether a server has run here."""
        return self.key_file.exists() or self.addresses_file.exists()

    def claim_state(self) -> None:
        """
        Make the file of the database, which only the owner can read, unless it exists.

        Raises:
            StateLost: It is missing or empty, although a server has run here.

            ServerError: It cannot be written.
        """
        path = self.path / "state.db"
        if self.was_used and not (path.exists() and path.stat().st_size):
            raise StateLost(str(path), str(self.path))
        self.make_private("state.db")

    def write_private(self, path: Path, content: bytes) -> None:
        """
        Write a file that only the owner can read, atomically.

        Raises:
            ServerError: It cannot be written.
        """
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(path, content, mode=0o600)

    def write_addresses(
        self, ports: Mapping[str, int], host: str, database: str | None = None
    ) -> None:
        """
        Write the addresses of the server for other processes.

        Arguments:
            database: The URL of the database that it shares with other servers, if any.
        """
        content = {"host": host, "ports": dict(ports), "pid": os.getpid()}
        if database is not None:
            content["database"] = database
        self.write_private(self.addresses_file, json.dumps(content).encode())

    def read_addresses(self) -> tuple[str, Mapping[str, int]]:
        """
        Return the host and the ports of the server that runs here, or ran last.

        Raises:
            ServerError: No server has run here.
        """
        try:
            content = json.loads(self.addresses_file.read_bytes())
            return str(content["host"]), {
                str(name): int(port) for name, port in content["ports"].items()
            }
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ServerError(
                f"No server has run on {self.path}. Start one with 'fal-core server start'."
            ) from error

    def read_database(self) -> str | None:
        """
        Return the URL of the database that the server which runs here, or ran last, shares
        with others. None where there is none.
        """
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found = json.loads(self.addresses_file.read_bytes()).get("database")
            return found if isinstance(found, str) else None
        return None

    def read_key(self) -> str:
        """Return the key of the first user. Empty where there is none, or not the whole of it."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = self.key_file.read_text().strip()
            return text if _KEY.fullmatch(text) else ""
        return ""

    def describe_lost_key(self) -> str:
        """Return the sentence about a key of the first user that is not there."""
        return (
            f"{self.key_file} has no whole key, so that FAL_KEY is not set. Make one with "
            "'fal-core server keys create NICKNAME', and write it there or set FAL_KEY to it."
        )


def _is_private(folder: Path) -> bool:
    """Return whether *folder* is a directory that this user alone can enter."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    is_closed = stat.S_ISDIR(found.st_mode) and not found.st_mode & _OTHERS
    return is_closed and found.st_uid == os.geteuid()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Raise :class:`ServerError` where *path* cannot be written."""
    try:
        yield
    except OSError as error:
        raise ServerError(f"{path} cannot be written: {error.strerror}.") from error
