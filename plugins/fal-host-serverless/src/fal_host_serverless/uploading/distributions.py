"""
Source distributions of projects of this machine, packed and uploaded once.

An archive is kept in the cache directory, with the fingerprint of its project and the
URLs that services have it at. While the fingerprint stays the same, a call reads only
this record; an archive that was packed again with the same content keeps its URLs.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from fal_core.caches import ForeignCache, cache_directory, new_file, write_atomically
from fal_core.digests import digest
from fal_core.errors import FalServerlessError
from fal_core.events import Log, LogSink
from fal_core.reprs import show_size
from fal_host_serverless.account.credentials import KeyCredentials
from fal_host_serverless.uploading import transfers
from fal_host_serverless.uploading.local_files import sha256_of
from fal_host_serverless.uploading.local_requirements import build_source
from fal_host_serverless.wire import settings
from fal_host_serverless.wire.rest import RestClient

#: Seconds that the URL of an archive must still be valid for, to be installed from.
_SPARE = 600.0
#: Seconds without use after which an archive is removed.
_UNUSED = 7 * 24 * 3600.0
#: The modification time of all packed files. Wheels cannot have one before 1980.
_TIME = 1_577_836_800

_locks: dict[Path, threading.Lock] = {}
#: URLs that this process has seen answer.
_answered: set[str] = set()


@attrs.frozen(kw_only=True)
class Distribution:
    """
    The source distribution of a project.

    Attributes:
        folder: The folder in the cache directory that keeps the archive.

        fingerprint: The fingerprint of the project before it was packed.

        name: The name of the archive, as in ``own-1.0.tar.gz``.

        digest: The SHA-256 of the archive, which is the same for the same content.

        places: The URL of the archive and the Unix time until which it is valid, by
            service and account.
    """

    folder: Path
    fingerprint: str
    name: str
    digest: str
    places: Mapping[str, tuple[str, float]] = attrs.field(factory=dict)

    @property
    def archive(self) -> Path:
        """The file of the archive."""
        return self.folder / f"{self.digest}.tar.gz"

    @property
    def size(self) -> int:
        """The size of the archive in bytes."""
        return self.archive.stat().st_size

    def url_at(self, service: str) -> str | None:
        """Return the URL at *service* if it is valid for long enough to be installed from."""
        url, until = self.places.get(service, ("", 0.0))
        # More time than was granted means that the clock was set back.
        left = until - time.time()
        return url if _SPARE < left <= transfers.SOURCE_KEPT else None

    def save(self) -> None:
        """Write the record that later calls and other processes read."""
        facts = attrs.asdict(self, filter=lambda field, _: field.name != "folder")
        path = self.folder / "distribution.json"
        write_atomically(path, json.dumps(facts), mode=0o600, durable=False)


def publish(folder: Path, rest: RestClient, log: LogSink) -> str:
    """
    Return the URL at which the service finds the project in *folder*.

    The project is packed and uploaded where that has not been done yet.

    Raises:
        EnvironmentBuildError: The project cannot be packed.

        FalServerlessError: The service does not accept the archive.
    """
    service = _account_key(rest)
    kept = _read_current(folder, fingerprint(folder))
    url = kept.url_at(service) if kept is not None else None
    if url is not None and url in _answered:
        return url
    with _lock(folder):
        distribution = _pack(folder)
        url = distribution.url_at(service)
        if url is None or (url not in _answered and not rest.is_there(url)):
            line = f"Uploading {distribution.name}, {show_size(distribution.size)}"
            log(Log(line, "INFO", "BUILDER"))
            now = time.time()
            url = transfers.send_source(
                rest, distribution.archive, name=distribution.name, digest=distribution.digest
            )
            places = {
                other: found for other, found in distribution.places.items() if found[1] > now
            }
            places[service] = url, now + transfers.SOURCE_KEPT
            attrs.evolve(distribution, places=places).save()
        _answered.add(url)
    return url


def pack(folder: Path) -> Distribution:
    """
    Return the source distribution of the project in *folder*; nothing is uploaded.

    Raises:
        EnvironmentBuildError: The project cannot be packed.
    """
    with _lock(folder):
        return _pack(folder)


def distrust_urls() -> None:
    """Check every URL again before it is next used, as after a failed installation."""
    _answered.clear()


def _pack(folder: Path) -> Distribution:
    current = fingerprint(folder)
    kept = _read_current(folder, current)
    if kept is not None and kept.archive.is_file():
        os.utime(kept.folder)
        return kept
    with build_source(folder) as archive:
        target = _folder(folder)
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        with new_file(target / "archive") as path:
            new = Path(path)
            _normalise(archive, new)
            distribution = Distribution(
                folder=target, fingerprint=current, name=archive.name, digest=sha256_of(new)
            )
            before = _read(target)
            if before is not None and before.digest == distribution.digest:
                distribution = attrs.evolve(distribution, places=before.places)
            os.replace(new, distribution.archive)
    distribution.save()
    _sweep(distribution)
    return distribution


def _read_current(folder: Path, current: str) -> Distribution | None:
    """Return the record of the project in *folder* if its fingerprint is still *current*."""
    found = _read(_folder(folder))
    return found if found is not None and found.fingerprint == current else None


def _read(folder: Path) -> Distribution | None:
    try:
        facts: dict[str, Any] = json.loads((folder / "distribution.json").read_bytes())
        return Distribution(folder=folder, **facts)
    except (OSError, ValueError, TypeError):
        return None


def _normalise(source: Path, target: Path) -> None:
    """Write the archive *source* to *target* without times, owners and other differences."""
    import gzip
    import tarfile

    with (
        tarfile.open(source) as archive,
        target.open("xb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as packed,
    ):
        # The target of a link goes before the link.
        for member in sorted(archive, key=lambda each: (each.islnk(), each.name)):
            member.mtime, member.uid, member.gid = _TIME, 0, 0
            member.uname, member.gname, member.pax_headers = "", "", {}
            packed.addfile(member, archive.extractfile(member) if member.isreg() else None)


def _sweep(kept: Distribution) -> None:
    """Remove older archives of the project of *kept*, and archives unused for long."""
    for path in kept.folder.glob("*.tar.gz"):
        if path != kept.archive:
            path.unlink(missing_ok=True)
    for folder in kept.folder.parent.iterdir():
        try:
            if folder.stat().st_mtime < time.time() - _UNUSED:
                shutil.rmtree(folder)
        except OSError:
            pass  # Another process removes it.


def _account_key(rest: RestClient) -> str:
    """Return the key of a service and an account there."""
    sender = rest.credentials
    account = sender.key_id if isinstance(sender, KeyCredentials) else ""
    return f"{settings.rest_url(rest.host)} {account}"


def _lock(folder: Path) -> threading.Lock:
    return _locks.setdefault(folder, threading.Lock())


def _folder(project: Path) -> Path:
    try:
        root = Path(cache_directory("serverless", make=True))
        usable = os.access(root, os.W_OK)
    except ForeignCache as error:
        raise FalServerlessError(str(error)) from None
    except OSError:
        usable = False
    return (root if usable else _temporary()) / digest(os.fsencode(project))


@functools.cache
def _temporary() -> Path:
    """Return a folder that lasts as long as this process, for a cache that is not writable."""
    folder = tempfile.mkdtemp(prefix="fal-core-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


#: Folders inside a project that hold no sources.
_NO_SOURCES = frozenset({".git", ".hg", ".svn", ".nox", ".tox", "__pycache__", "node_modules"})
#: Suffixes of what builds leave among the sources.
_LEFT = (".egg-info", ".pyc")
#: Files that mark a folder as a cache or a virtual environment.
_MARKS = ("CACHEDIR.TAG", "pyvenv.cfg")


def fingerprint(folder: Path) -> str:
    """
    Return a digest that changes whenever a file of the project in *folder* does.

    It covers sizes, modes and times of files. The files of the repository that hold
    commit and tags count too, since versions are derived from them.
    """
    states = [
        (path, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for path, status in (*_files(os.fspath(folder), set()), *_history(folder))
    ]
    return digest(repr(sorted(states)).encode(), 32)


def _files(folder: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each file under *folder*; links are followed."""
    with os.scandir(folder) as entries:
        found = list(entries)
    if any(entry.name in _MARKS for entry in found):
        return
    for entry in found:
        if entry.name in _NO_SOURCES or entry.name.endswith(_LEFT):
            continue
        try:
            status = entry.stat()
            if not entry.is_dir():
                yield entry.path, status
                continue
        except OSError:
            continue  # A dangling link.
        place = (status.st_dev, status.st_ino)
        if place not in seen:
            seen.add(place)
            yield from _files(entry.path, seen)


def _history(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files that change with commit and tags of the repository around *folder*."""
    for parent in (folder, *folder.parents):
        own = parent / ".git"
        if own.is_file():
            # A worktree or a submodule has its repository elsewhere.
            own = parent / own.read_text("utf-8").partition(":")[2].strip()
        if not own.is_dir():
            continue
        shared = own / "commondir"
        common = own / shared.read_text("utf-8").strip() if shared.is_file() else own
        for path in (
            own / "HEAD",
            own / "logs/HEAD",
            common / "packed-refs",
            common / "refs/tags",
        ):
            if path.exists():
                yield os.fspath(path), path.stat()
        return
