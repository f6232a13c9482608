"""
Files: what of this machine travels with a function, told by its content.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import attrs

from fal_core.errors import OptionError

#: A file that travels may have this many bytes.
SIZE_LIMIT = 1 << 30
#: What stays where nothing is said: the settings of a repository may have a password.
USUALLY_IGNORED = (r"\.pyc$", "__pycache__/", r"\.git/", r"\.DS_Store$")
_BLOCK = 1 << 20


@attrs.frozen(kw_only=True)
class LocalFile:
    """
    A file that travels with a function.

    Attributes:
        path: Where it is.

        relative_path: Where the function finds it, under ``/app``.

        hash: Of its content and its mode, as the service makes it.
    """

    path: Path
    relative_path: str
    hash: str
    size: int
    mode: int
    modified: float

    @classmethod
    def read(cls, path: Path, relative_path: str) -> LocalFile:
        """
        Return the file at *path*.

        Raises:
            OptionError: It is too large.
        """
        check_file(path)
        status = path.stat()
        return cls(
            path=path,
            relative_path=relative_path,
            hash=content_hash(path, status.st_mode),
            size=status.st_size,
            mode=status.st_mode,
            modified=status.st_mtime,
        )

    @property
    def facts(self) -> dict[str, str]:
        """
        What the service is told of it.
        """
        facts = {"size": self.size, "mtime": self.modified, "mode": self.mode}
        return {name: str(value) for name, value in facts.items()} | {"hash": self.hash}


@attrs.frozen(kw_only=True)
class Selection:
    """
    Which files travel.

    Attributes:
        paths: Files and folders, relative to *folder* or absolute.

        ignored: Regular expressions; a file whose relative path has one stays.

        folder: What relative paths begin at.
    """

    paths: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    folder: Path = attrs.field(factory=Path.cwd)

    def collect(self) -> list[LocalFile]:
        """
        Return the files, each once, in the order of their paths.

        Raises:
            OptionError: There is no such file, one is too large or lies outside
                *folder*, or a pattern is none.
        """
        found = self._find()
        return [LocalFile.read(found[relative], relative) for relative in sorted(found)]

    def check(self) -> None:
        """
        Refuse what cannot be collected. No file is read, which may take long.

        Raises:
            OptionError: As :meth:`collect` does.
        """
        for path in self._find().values():
            check_file(path)

    def _find(self) -> dict[str, Path]:
        """
        Return where the files are, by the paths that the function finds them at.
        """
        patterns = [_compile(pattern) for pattern in self.ignored]
        found: dict[str, Path] = {}
        for path, written in self._walk(patterns):
            resolved = path.resolve()
            relative = self._relative(resolved, written)
            if relative not in found and not _is_ignored(relative, patterns):
                found[relative] = resolved
        return found

    def _walk(self, patterns: list[re.Pattern[str]]) -> Iterator[tuple[Path, str]]:
        """
        Yield each file and the path that led to it, those ignored aside.
        """
        for written in self.paths:
            start = self.folder / written
            if not start.exists() and not start.is_symlink():
                raise OptionError(
                    f"Option 'app_files' names {written!r}, and there is no {start}."
                )
            for path in [start] if not start.is_dir() else _walk(start):
                lexical = Path(os.path.relpath(path, self.folder)).as_posix()
                if path.is_file() and not _is_ignored(lexical, patterns):
                    yield path, written

    def _relative(self, path: Path, written: str) -> str:
        relative = PurePosixPath(Path(os.path.relpath(path, self.folder.resolve())).as_posix())
        if relative.is_absolute() or ".." in relative.parts:
            raise OptionError(
                f"Option 'app_files' names {written!r}, which leads to {path}, outside of "
                f"{self.folder}. Name another folder in 'app_files_context_dir', or a "
                "pattern of it in 'app_files_ignore'."
            )
        return relative.as_posix()


def check_file(path: Path) -> None:
    """
    Refuse a file that cannot travel; its content is not read.

    Raises:
        OptionError: It is too large.

        OSError: It may not be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > SIZE_LIMIT:
            raise OptionError(f"{path} has more than {SIZE_LIMIT} bytes, and cannot travel.")


def content_hash(path: Path, mode: int) -> str:
    """
    Return what the service knows a file of this content and *mode* by.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    digest.update(str(mode).encode())
    return digest.hexdigest()


def base_folder(local_file_path: str) -> Path:
    """
    Return the folder of the function's file, or the working directory.
    """
    path = Path(local_file_path or os.getcwd()).expanduser().resolve()
    return path if path.is_dir() else path.parent


def inside(base: Path, written: Any) -> Path:
    """
    Return the folder *written*, which may be relative to *base*.
    """
    return base if not written else (base / Path(written).expanduser()).resolve()


def _walk(folder: Path) -> Iterator[Path]:
    for current, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield Path(current, name)


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise OptionError(
            f"Option 'app_files_ignore' has {pattern!r}, which is no regular expression: "
            f"{error}."
        ) from error


def _is_ignored(path: str, patterns: list[re.Pattern[str]]) -> bool:
    return any(pattern.search(path) for pattern in patterns)
