"""
Trees: files below one directory, into which strangers may have put links.

A runner may have its own root, in which a link leads elsewhere than here. So each name of a
path is opened in the directory before it, and a link is followed as a runner would do it:
``/data`` is the tree, and what leads out of the tree is not there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

import attrs

from fal_server.errors import Invalid, NotFound, TooLarge
from fal_server.state.file_stores import translated

#: The most links in one path, and the most files that are listed at once.
_MOST_LINKS, _MOST_LISTED = 40, 100_000

#: The most directories in each other that are open at once: as many as a path has names.
_DEEPEST = 200

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.frozen
class TreeEntry:
    """
    A file or a directory in a tree.

    Attributes:
        parts: The names of its path.

        modified: When it was last changed, in seconds since the epoch.
    """

    parts: Sequence[str]
    is_file: bool
    size: int
    modified: float


@attrs.frozen
class Tree:
    """
    The files below *root*, by the names of their paths.

    All methods wait for the disk.

    Raises:
        NotFound: There is no such file, or its path leads out of the tree.

        Invalid: What is asked for is not possible with what is there.

        StorageFull: The disk is full.
    """

    root: Path

    def entries(self, parts: Sequence[str]) -> Sequence[TreeEntry]:
        """
        Return what is in a directory, or a file itself; nothing where neither is there.

        Links that lead nowhere, and to a directory that they are in, are left out.

        Raises:
            TooLarge: There is too much in the directory.
        """
        with contextlib.suppress(NotFound), self._walk(parts) as walk:
            state = walk.state()
            if not stat.S_ISDIR(state.st_mode):
                return [_describe(parts, state)]
            above = walk.enter()
            found: list[TreeEntry] = []
            for name in os.listdir(walk.place):
                if len(found) >= _MOST_LISTED:
                    raise TooLarge(
                        f"The directory has more than {_MOST_LISTED:,} files, which are "
                        "not listed at once. List directories in it."
                    )
                with contextlib.suppress(NotFound):
                    is_link = stat.S_ISLNK(os.lstat(name, dir_fd=walk.place).st_mode)
                    state = self._look((*parts, name)) if is_link else walk.state(name)
                    if not is_link or (state.st_dev, state.st_ino) not in above:
                        found.append(_describe((*parts, name), state))
            return found
        return []

    def open(self, parts: Sequence[str]) -> IO[bytes]:
        """Open a file for reading."""
        with self._walk(parts) as walk:
            if stat.S_ISDIR(walk.state().st_mode):
                raise Invalid(f"{'/'.join(('', 'data', *parts))[:80]!r} is a directory.")
            with _missing():
                # A pipe must not hold this up.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                file = os.fdopen(os.open(walk.name, flags, dir_fd=walk.place), "rb", 0)
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file
            file.close()
            raise NotFound("It is not a file.")

    def put(self, written: str | Path, parts: Sequence[str]) -> None:
        """
        Put the file at the path *written*, which is gone then, in its place, and make the
        directories above. It replaces another file at once.
        """
        with self._walk(parts, follows=False, makes=True) as walk, translated():
            os.chmod(written, 0o644)
            walk.replace(written)

    def remove(self, parts: Sequence[str]) -> None:
        """Remove a file, or a directory with everything in it."""
        if not parts:
            raise Invalid("/data itself cannot be removed. Remove what is in it.")
        with self._walk(parts, follows=False) as walk, _missing():
            if stat.S_ISDIR(walk.state().st_mode):
                _empty(walk.name, walk.place)
                os.rmdir(walk.name, dir_fd=walk.place)
            else:
                os.unlink(walk.name, dir_fd=walk.place)

    def rename(self, parts: Sequence[str], other: Sequence[str]) -> None:
        """Give a file or a directory another path, of which the directories are made."""
        if not (parts and other):
            raise Invalid("/data itself cannot be moved.")
        with self._walk(parts, follows=False) as walk:
            walk.state()
            with self._walk(other, follows=False, makes=True) as target, translated():
                target.replace(walk.name, source=walk.place)

    def measure(self) -> tuple[int, int]:
        """
        Return how many files there are, and their bytes on the disk.

        Raises:
            TooLarge: There are directories deeper in each other than a path can name.
        """
        files = size = 0
        try:
            opened = os.open(self.root, _DIRECTORY)
        except FileNotFoundError:
            return 0, 0
        with contextlib.closing(_Levels.begin("", opened)) as levels:
            while (name := levels.next_name()) is not None:
                # It may be removed meanwhile.
                with contextlib.suppress(OSError):
                    state = os.lstat(name, dir_fd=levels.place)
                    if not stat.S_ISDIR(state.st_mode):
                        files, size = files + 1, size + state.st_blocks * 512
                    elif levels.is_full:
                        raise TooLarge(
                            f"The account has more than {_DEEPEST} directories in each other. "
                            "Remove some: a directory is removed with all of them in it."
                        )
                    else:
                        levels.enter(name)
        return files, size

    def _look(self, parts: Sequence[str]) -> os.stat_result:
        with self._walk(parts) as walk:
            return walk.state()

    @contextlib.contextmanager
    def _walk(
        self, parts: Sequence[str], *, follows: bool = True, makes: bool = False
    ) -> Iterator[_Walk]:
        """
        Go to where a path leads.

        Arguments:
            follows: Whether a link at its end is followed.

            makes: Whether directories that are not there are made.
        """
        with translated():
            self.root.mkdir(parents=True, mode=0o700, exist_ok=True)
        walk = _Walk([os.open(self.root, _DIRECTORY)], makes=makes)
        try:
            walk.go(parts, follows=follows)
            yield walk
        finally:
            walk.close()


@attrs.define
class _Walk:
    """
    The way to a file.

    Attributes:
        name: The last name of the path, in the directory *place*.
    """

    _opened: list[int]
    _makes: bool = attrs.field(kw_only=True)
    name: str = "."

    @property
    def place(self) -> int:
        return self._opened[-1]

    def go(self, parts: Sequence[str], *, follows: bool) -> None:
        left, links = deque(parts), 0
        while left:
            name = left.popleft()
            if name == "..":
                if len(self._opened) == 1:
                    raise NotFound("A link leads out of /data.")
                os.close(self._opened.pop())
                continue
            target = self._link(name) if left or follows else None
            if target is not None:
                links += 1
                if links > _MOST_LINKS:
                    raise NotFound("Links lead to each other.")
                left.extendleft(reversed(self._lead(target)))
            elif left:
                self._enter(name)
            else:
                self.name = name

    def _link(self, name: str) -> PurePosixPath | None:
        with contextlib.suppress(OSError):
            return PurePosixPath(os.readlink(name, dir_fd=self.place))
        return None

    def _lead(self, target: PurePosixPath) -> Sequence[str]:
        if not target.is_absolute():
            return target.parts
        if target.parts[:2] != ("/", "data"):
            raise NotFound("A link leads out of /data.")
        while len(self._opened) > 1:
            os.close(self._opened.pop())
        return target.parts[2:]

    def _enter(self, name: str) -> None:
        if len(self._opened) > _DEEPEST:
            raise NotFound(f"More than {_DEEPEST} directories are in each other.")
        with translated(), _missing():
            if self._makes:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=self.place)
            self._opened.append(os.open(name, _DIRECTORY, dir_fd=self.place))

    def enter(self) -> set[tuple[int, int]]:
        """Enter the directory that it leads to, and return this and those above."""
        if self.name != ".":
            self._enter(self.name)
            self.name = "."
        states = map(os.fstat, self._opened)
        return {(state.st_dev, state.st_ino) for state in states}

    def state(self, name: str | None = None) -> os.stat_result:
        with _missing():
            return os.lstat(self.name if name is None else name, dir_fd=self.place)

    def replace(self, path: str | Path, *, source: int | None = None) -> None:
        with _missing():
            os.replace(path, self.name, src_dir_fd=source, dst_dir_fd=self.place)

    def close(self) -> None:
        while self._opened:
            os.close(self._opened.pop())


@attrs.frozen
class _Level:
    """A directory that is walked through: its name, and the names in it that are left."""

    name: str
    place: int
    left: list[str]


@attrs.define
class _Levels:
    """
    Directories in each other, of which the last is walked through.

    Each is open, as what is in it may be moved elsewhere meanwhile.
    """

    _levels: list[_Level] = attrs.field(factory=list)

    @classmethod
    def begin(cls, name: str, opened: int) -> _Levels:
        return cls([_Level(name, opened, os.listdir(opened))])

    @property
    def place(self) -> int:
        return self._levels[-1].place

    @property
    def is_full(self) -> bool:
        return len(self._levels) > _DEEPEST

    def next_name(self, *, removes: bool = False) -> str | None:
        """
        Return the next name in the last directory, of those that have any left. None at the
        end.

        Arguments:
            removes: Whether a directory is removed in which there is none.
        """
        while self._levels:
            level = self._levels[-1]
            if level.left:
                return level.left.pop()
            os.close(self._levels.pop().place)
            if removes and self._levels:
                os.rmdir(level.name, dir_fd=self.place)
        return None

    def enter(self, name: str) -> None:
        opened = os.open(name, _DIRECTORY, dir_fd=self.place)
        self._levels.append(_Level(name, opened, os.listdir(opened)))

    def lift(self, name: str) -> None:
        """Move a directory into the first one, to be walked through there."""
        first, lifted = self._levels[0], uuid.uuid4().hex
        os.rename(name, lifted, src_dir_fd=self.place, dst_dir_fd=first.place)
        first.left.append(lifted)

    def close(self) -> None:
        while self._levels:
            os.close(self._levels.pop().place)


def _empty(name: str, place: int) -> None:
    """Remove everything in a directory."""
    opened = os.open(name, _DIRECTORY, dir_fd=place)
    with contextlib.closing(_Levels.begin(name, opened)) as levels:
        while (each := levels.next_name(removes=True)) is not None:
            if not stat.S_ISDIR(os.lstat(each, dir_fd=levels.place).st_mode):
                os.unlink(each, dir_fd=levels.place)
            elif levels.is_full:
                levels.lift(each)
            else:
                levels.enter(each)


def _describe(parts: Sequence[str], state: os.stat_result) -> TreeEntry:
    is_file = not stat.S_ISDIR(state.st_mode)
    return TreeEntry(parts, is_file, state.st_size if is_file else 0, state.st_mtime)


@contextlib.contextmanager
def _missing() -> Iterator[None]:
    """Refuse what the system cannot do."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound("There is no such file.") from error
    except IsADirectoryError as error:
        raise Invalid("There is a directory of that name.") from error
    except (FileExistsError, PermissionError) as error:
        raise Invalid(f"The system refuses it: {error.strerror}.") from error
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise Invalid("There is a directory of that name, which is not empty.") from error
        if error.errno == errno.EINVAL:
            raise Invalid("A directory cannot be moved into itself.") from error
        if error.errno == errno.ELOOP:
            raise NotFound("There is no such file.") from error
        raise
