"""Build contexts: the files of a directory that a build sees, their digest, and a copy of them."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shutil
import stat
import time
from collections.abc import Iterable, Iterator

import attrs

from fal_core.errors import OptionError
from fal_env_container.images.ignore_patterns import IgnorePatterns, to_expression
from fal_env_container.images.sources import WHOLE

_BLOCK = 1 << 20
#: Bits of a mode that a copy in an image keeps.
_MODE = 0o7777

# Digests of files that this process has read, by what changes with their content.
_digests: dict[tuple[object, ...], str] = {}
_MOST_DIGESTS = 100_000
#: Nanoseconds after which a change of a file shows in its times.
_TICK = 2_000_000_000

_WILDCARDS = re.compile(r"[*?\[]")


@attrs.frozen
class Entry:
    """
    A file, a directory or a link that a build sees.

    Attributes:
        path: Relative to the context, with slashes.

        place: Where it is on this machine.
    """

    path: str
    place: str
    status: os.stat_result = attrs.field(repr=False, eq=False)

    @property
    def mode(self) -> int:
        """Its type and permissions."""
        return self.status.st_mode

    @property
    def stamp(self) -> tuple[object, ...]:
        """What changes when the entry does, without a look at its content."""
        if stat.S_ISDIR(self.mode):
            return self.path, self.mode
        status = self.status
        return self.path, self.mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@attrs.frozen
class Context:
    """
    A directory, and what of it is left out.

    Attributes:
        shown: The directory as errors name it. Empty where nobody may know where it is.
    """

    folder: str
    ignored: IgnorePatterns = attrs.field(factory=IgnorePatterns)
    shown: str = attrs.field(
        default=attrs.Factory(lambda self: self.folder, takes_self=True), kw_only=True
    )

    def select(self, paths: Iterable[str]) -> list[Entry]:
        """
        Return what a build sees that reads *paths*, sorted by path.

        A path may have the wildcards of ``COPY``; a directory brings all that is in it.

        Raises:
            OptionError: The context is no directory, or cannot be read.
        """
        paths = list(paths)
        if not paths:
            return []
        if not os.path.isdir(self.folder):
            where = f" {self.shown}" if self.shown else ""
            raise OptionError(f"The build context{where} is no directory.")
        found: dict[str, Entry] = {}
        try:
            for path in paths:
                for matched in self._resolve(path, found):
                    self._collect(matched, found)
        except OSError as error:
            raise OptionError(
                f"The build context cannot be read: {error.filename}: {error.strerror}."
            ) from error
        return [found[path] for path in sorted(found)]

    def explain_missing(self, path: str) -> str | None:
        """Return why a build that reads *path* finds nothing, as a sentence; None if it does."""
        found: dict[str, Entry] = {}
        if path == WHOLE or any(True for _ in self._resolve(path, found)):
            return None
        place = os.path.join(self.folder, path)
        pattern = self.ignored.match(path)
        if os.path.lexists(place) and pattern is not None:
            return f"{path} is left out by the line {pattern.text!r} of the .dockerignore."
        if not self.shown:
            told = f"There is no {path} among the files that were sent for the build."
            if _WILDCARDS.search(path):
                # fal's SDK takes such a name for that of a file, and sends nothing.
                return (
                    f"{told} fal's SDK sends no files for a name with wildcards: name their "
                    "folder, or each of them."
                )
            return f"{told} A client looks for it in the 'context_dir' of the image."
        return f"There is no {path} in the build context {self.shown}."

    def _resolve(self, path: str, found: dict[str, Entry]) -> Iterator[str]:
        """Yield the paths that are there for *path*, with links in it followed."""
        if path == WHOLE:
            yield WHOLE
            return
        if not _WILDCARDS.search(path):
            yield from self._follow(path, found)
            return
        # The part before the first wildcard is a directory to look in.
        parts = path.split("/")
        fixed = next(i for i, part in enumerate(parts) if _WILDCARDS.search(part))
        try:
            expression = re.compile(to_expression(path), re.DOTALL)
        except re.error as error:
            raise OptionError(f"COPY {path}: that is no pattern: {error.msg}.") from error
        for start in self._follow("/".join(parts[:fixed]), found) if fixed else (WHOLE,):
            for each in list(self._walk(start)):
                if expression.fullmatch(each.path):
                    yield from self._follow(each.path, found)

    def _follow(
        self, path: str, found: dict[str, Entry], seen: tuple[str, ...] = ()
    ) -> Iterator[str]:
        """Yield *path*, if it is there, without links in it; the links themselves are *found*."""
        if path in ("", "."):
            yield WHOLE
            return
        walked = ""
        parts = path.split("/")
        for index, part in enumerate(parts):
            walked = f"{walked}/{part}".lstrip("/")
            entry = self._entry(walked)
            if entry is None:
                return
            if not stat.S_ISLNK(entry.mode):
                continue
            if self._is_seen(walked):
                found[walked] = entry
            if walked in seen:
                return
            target = os.readlink(entry.place)
            # A build sees its context as the root.
            base = "/" if target.startswith("/") else f"/{posixpath.dirname(walked)}"
            rest = "/".join((target, *parts[index + 1 :]))
            inside = posixpath.normpath(posixpath.join(base, rest.lstrip("/")))
            yield from self._follow(inside.lstrip("/"), found, (*seen, walked))
            return
        if os.path.isdir(os.path.join(self.folder, walked)) or self._is_seen(walked):
            yield walked

    def _collect(self, path: str, found: dict[str, Entry]) -> None:
        for entry in self._walk(path):
            found[entry.path] = entry
        # A copy needs the directories above it.
        parent = posixpath.dirname(path)
        while parent and parent not in found:
            above = self._entry(parent)
            if above is not None and any(each.startswith(f"{parent}/") for each in found):
                found[parent] = above
            parent = posixpath.dirname(parent)

    def _walk(self, path: str) -> Iterator[Entry]:
        """Yield what is seen of *path* and below it."""
        entry = self._entry(path) if path != WHOLE else None
        if entry is not None and self._is_seen(path):
            yield entry
        if path != WHOLE and (entry is None or not stat.S_ISDIR(entry.mode)):
            return
        if path != WHOLE and not self._may_hold(path):
            return
        for name in sorted(os.listdir(os.path.join(self.folder, path))):
            yield from self._walk(f"{path}/{name}".lstrip("/"))

    def _is_seen(self, path: str) -> bool:
        return self.ignored.match(path) is None

    def _may_hold(self, path: str) -> bool:
        """Tell whether something below the directory *path* may be seen."""
        return self.ignored.has_exceptions or self._is_seen(path)

    def _entry(self, path: str) -> Entry | None:
        place = os.path.join(self.folder, path)
        try:
            found = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return None
        kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
        # Sockets, pipes and devices are no content.
        if not any(is_kind(found.st_mode) for is_kind in kinds):
            return None
        return Entry(path, place, found)


def digest_of(entries: Iterable[Entry]) -> str:
    """
    Return a digest of the paths, modes and contents of *entries*, not of their times.

    Raises:
        OptionError: One cannot be read.
    """
    whole = hashlib.sha256()
    for entry in entries:
        mode = stat.S_IFMT(entry.mode) | (entry.mode & _MODE)
        if stat.S_ISLNK(entry.mode):
            content, mode = os.readlink(entry.place), stat.S_IFLNK
        elif stat.S_ISDIR(entry.mode):
            content = ""
        else:
            content = _file_digest(entry)
        whole.update(f"{entry.path}\0{mode:o}\0{content}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def _file_digest(entry: Entry) -> str:
    identity = (entry.place, entry.status.st_ino, *entry.stamp)
    known = _digests.get(identity)
    if known is not None:
        return known
    # A file may change twice within one tick of the clock of the file system.
    is_settled = time.time_ns() - entry.status.st_mtime_ns > _TICK
    content = hashlib.sha256()
    try:
        with open(entry.place, "rb") as stream:
            while block := stream.read(_BLOCK):
                content.update(block)
    except OSError as error:
        raise OptionError(
            f"{entry.place} in the build context cannot be read: {error.strerror}."
        ) from error
    if is_settled:
        if len(_digests) >= _MOST_DIGESTS:
            _digests.clear()
        _digests[identity] = content.hexdigest()
    return content.hexdigest()


def copy_to(folder: str, entries: Iterable[Entry]) -> list[Entry]:
    """
    Copy *entries* to the new directory *folder*, with their modes and times; return the
    copies, whose contents may be newer than those that were looked at.
    """
    os.makedirs(folder)
    entries = list(entries)
    directories = []
    for entry in entries:
        target = os.path.join(folder, entry.path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if stat.S_ISDIR(entry.mode):
            os.makedirs(target, exist_ok=True)
            directories.append(entry)
        elif stat.S_ISLNK(entry.mode):
            os.symlink(os.readlink(entry.place), target)
        else:
            shutil.copyfile(entry.place, target)
            _copy_facts(entry, target)
    # Last, and the innermost first: a directory may be one that nobody can write to.
    for entry in reversed(directories):
        _copy_facts(entry, os.path.join(folder, entry.path))
    places = ((entry.path, os.path.join(folder, entry.path)) for entry in entries)
    return [Entry(path, place, os.lstat(place)) for path, place in places]


def _copy_facts(entry: Entry, target: str) -> None:
    os.chmod(target, entry.mode & _MODE)
    modified = entry.status.st_mtime_ns
    os.utime(target, ns=(modified, modified))
