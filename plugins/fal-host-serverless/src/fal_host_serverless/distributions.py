"""
Distributions: the sources of projects of this machine, packed and uploaded once.

What was packed is kept in the cache directory, with how the files of its project looked
and where services have it. A call whose files look the same reads that, and does no
more; what was packed anew with the same content is where it was before.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from fal_core.caches import cache_root
from fal_core.digests import digest
from fal_core.events import Log, LogSink
from fal_host_serverless import settings, uploads
from fal_host_serverless.credentials import KeyCredentials
from fal_host_serverless.local_requirements import built
from fal_host_serverless.rest import RestClient
from fal_host_serverless.trees import fingerprint

#: Seconds that an uploaded source must still be there for, to be installed from.
_SPARE = 600.0
#: Seconds after which what nobody needed is removed.
_UNUSED = 7 * 24 * 3600.0
#: The time of all packed files, since archives of wheels know none before 1980.
_TIME = 1_577_836_800
_BLOCK = 1 << 20

_locks: dict[Path, threading.Lock] = {}
#: Addresses that have answered this process.
_answered: set[str] = set()


@attrs.frozen(kw_only=True)
class Distribution:
    """
    The source distribution of a project.

    Attributes:
        folder: Where it is kept.

        fingerprint: How the files of the project looked before they were packed.

        name: Of the archive, as in ``own-1.0.tar.gz``.

        digest: The SHA-256 of the archive, which is the same for the same content.

        places: The address that each service and account has it at, and until when.
    """

    folder: Path
    fingerprint: str
    name: str
    digest: str
    places: Mapping[str, tuple[str, float]] = attrs.field(factory=dict)

    @property
    def archive(self) -> Path:
        """
        The archive.
        """
        return self.folder / f"{self.digest}.tar.gz"

    @property
    def size(self) -> int:
        """
        The bytes of the archive.
        """
        return self.archive.stat().st_size

    def place(self, service: str) -> str | None:
        """
        Return where *service* has it for long enough to be installed from there.
        """
        url, until = self.places.get(service, ("", 0.0))
        # A clock that was set back says nothing of what is there.
        left = until - time.time()
        return url if _SPARE < left <= uploads.SOURCE_KEPT else None

    def keep(self) -> None:
        """
        Write it down, for other processes too.
        """
        facts = attrs.asdict(self, filter=lambda field, _: field.name != "folder")
        new = self.folder / f"{os.urandom(8).hex()}.new"
        new.touch(0o600)
        new.write_text(json.dumps(facts), "utf-8")
        os.replace(new, self.folder / "distribution.json")


def place(folder: Path, rest: RestClient, log: LogSink) -> str:
    """
    Return where the service finds the project in *folder*, packed and uploaded if need be.

    Raises:
        EnvironmentBuildError: It cannot be packed.

        FalServerlessError: The service does not take it.
    """
    service = _service(rest)
    kept = _kept(folder, fingerprint(folder))
    url = kept.place(service) if kept is not None else None
    if url is not None and url in _answered:
        return url
    with _lock(folder):
        distribution = _packed(folder)
        url = distribution.place(service)
        if url is None or (url not in _answered and not rest.is_there(url)):
            line = f"Uploading {distribution.name}, {distribution.size} bytes"
            log(Log(line, "INFO", "BUILDER"))
            now = time.time()
            url = uploads.send_source(
                rest, distribution.archive, name=distribution.name, digest=distribution.digest
            )
            places = {
                other: found for other, found in distribution.places.items() if found[1] > now
            }
            places[service] = url, now + uploads.SOURCE_KEPT
            attrs.evolve(distribution, places=places).keep()
        _answered.add(url)
    return url


def pack(folder: Path) -> Distribution:
    """
    Return the source distribution of the project in *folder*; nothing is uploaded.

    Raises:
        EnvironmentBuildError: It cannot be packed.
    """
    with _lock(folder):
        return _packed(folder)


def doubt() -> None:
    """
    Ask again whether what was uploaded is there, before it is next installed from.
    """
    _answered.clear()


def _packed(folder: Path) -> Distribution:
    looks = fingerprint(folder)
    kept = _kept(folder, looks)
    if kept is not None and kept.archive.is_file():
        os.utime(kept.folder)
        return kept
    with built(folder) as archive:
        target = _folder(folder)
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = target / f"{os.urandom(8).hex()}.new"
        try:
            _normalise(archive, new)
            distribution = Distribution(
                folder=target, fingerprint=looks, name=archive.name, digest=_sha256(new)
            )
            before = _read(target)
            if before is not None and before.digest == distribution.digest:
                distribution = attrs.evolve(distribution, places=before.places)
            os.replace(new, distribution.archive)
        finally:
            new.unlink(missing_ok=True)
    distribution.keep()
    _sweep(distribution)
    return distribution


def _kept(folder: Path, looks: str) -> Distribution | None:
    found = _read(_folder(folder))
    return found if found is not None and found.fingerprint == looks else None


def _read(folder: Path) -> Distribution | None:
    try:
        facts: dict[str, Any] = json.loads((folder / "distribution.json").read_bytes())
        return Distribution(folder=folder, **facts)
    except (OSError, ValueError, TypeError):
        return None


def _normalise(source: Path, target: Path) -> None:
    """
    Write the archive *source* to *target* without what differs each time it is packed.
    """
    import gzip
    import tarfile

    with (
        tarfile.open(source) as archive,
        target.open("xb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w") as packed,
    ):
        # What a link leads to goes before it.
        for member in sorted(archive, key=lambda each: (each.islnk(), each.name)):
            member.mtime, member.uid, member.gid = _TIME, 0, 0
            member.uname, member.gname, member.pax_headers = "", "", {}
            packed.addfile(member, archive.extractfile(member) if member.isreg() else None)


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _sweep(kept: Distribution) -> None:
    """
    Remove what was packed before *kept*, and what nobody has needed for long.
    """
    for path in kept.folder.glob("*.tar.gz"):
        if path != kept.archive:
            path.unlink(missing_ok=True)
    for folder in kept.folder.parent.iterdir():
        try:
            if folder.stat().st_mtime < time.time() - _UNUSED:
                shutil.rmtree(folder)
        except OSError:
            pass  # Another process removes it.


def _service(rest: RestClient) -> str:
    """
    Return the words that tell a service and an account there.
    """
    who = rest.credentials
    account = who.key_id if isinstance(who, KeyCredentials) else ""
    return f"{settings.rest_url(rest.host)} {account}"


def _lock(folder: Path) -> threading.Lock:
    return _locks.setdefault(folder, threading.Lock())


def _folder(project: Path) -> Path:
    root = Path(cache_root(), "serverless")
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        usable = os.access(root, os.W_OK)
    except OSError:
        usable = False
    return (root if usable else _temporary()) / digest(os.fsencode(project))


@functools.cache
def _temporary() -> Path:
    """
    Return a folder for as long as this process, where nothing can be kept for others.
    """
    folder = tempfile.mkdtemp(prefix="fal-core-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
