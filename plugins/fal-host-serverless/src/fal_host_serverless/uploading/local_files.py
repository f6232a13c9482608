"""Files of this machine that travel with a function, identified by their content."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import attrs

from fal_core.errors import OptionError

#: The largest file that travels, in bytes.
SIZE_LIMIT = 1 << 30
#: Files that stay unless other patterns are given: a repository's settings may have a
#: password.
USUALLY_IGNORED = (r"\.pyc$", "__pycache__/", r"\.git/", r"\.DS_Store$")
_BLOCK = 1 << 20


@attrs.frozen(kw_only=True)
class LocalFile:
    """
    A file that travels with a function.

    Attributes:
        path: The file on this machine.

        relative_path: The path under ``/app`` at which the function finds it.

        hash: The hash of content and mode by which the service knows it.
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
        Hash the file at *path*.

        Raises:
            OptionError: The file is too large.
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
        """The facts about the file that are uploaded with it."""
        facts = {"size": self.size, "mtime": self.modified, "mode": self.mode}
        return {name: str(value) for name, value in facts.items()} | {"hash": self.hash}


@attrs.frozen(kw_only=True)
class Selection:
    """
    A selection of files that travel.

    Attributes:
        paths: Files and folders, relative to *folder* or absolute.

        is_context: Whether they are what a Dockerfile copies, where names may have wildcards.

        ignored: Regular expressions; files stay if one is found in their relative path.

        folder: The folder that paths are relative to.
    """

    paths: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    folder: Path = attrs.field(factory=Path.cwd)
    is_context: bool = False

    def collect(self) -> list[LocalFile]:
        """
        Return the files, each once, in the order of their paths.

        Raises:
            OptionError: A file does not exist, is too large or lies outside *folder*, or
                a pattern is no regular expression.
        """
        found = self._find()
        return [LocalFile.read(found[relative], relative) for relative in sorted(found)]

    def check(self) -> None:
        """
        Raise the errors of :meth:`collect` without reading files, which may take long.

        Raises:
            OptionError: As :meth:`collect`.
        """
        for path in self._find().values():
            check_file(path)

    def _find(self) -> dict[str, Path]:
        """Return the files by the relative paths at which the function finds them."""
        patterns = [_compile(pattern) for pattern in self.ignored]
        found: dict[str, Path] = {}
        for path, written in self._walk(patterns):
            resolved = path.resolve()
            relative = self._relative(resolved, written)
            if relative not in found and not _is_ignored(relative, patterns):
                found[relative] = resolved
        return found

    def _walk(self, patterns: list[re.Pattern[str]]) -> Iterator[tuple[Path, str]]:
        """Yield each file that is not ignored, with the written path that it was found under."""
        for written in self.paths:
            for start in self._starts(written):
                for path in [start] if not start.is_dir() else _walk(start):
                    lexical = Path(os.path.relpath(path, self.folder)).as_posix()
                    if path.is_file() and not _is_ignored(lexical, patterns):
                        yield path, written

    def _starts(self, written: str) -> list[Path]:
        """
        Return the files and folders that *written* names.

        Raises:
            OptionError: There are none.
        """
        start = self.folder / written
        if start.exists() or start.is_symlink():
            return [start]
        found = _match(self.folder, written) if self.is_context else []
        if not found:
            what = "The Dockerfile copies" if self.is_context else "Option 'app_files' names"
            raise OptionError(f"{what} {written!r}, and there is no {start}.")
        return found

    def _relative(self, path: Path, written: str) -> str:
        relative = PurePosixPath(Path(os.path.relpath(path, self.folder.resolve())).as_posix())
        if relative.is_absolute() or ".." in relative.parts:
            raise OptionError(
                f"Option 'app_files' names {written!r}, which leads to {path}, outside of "
                f"{self.folder}. Name another folder in 'app_files_context_dir', or a "
                "pattern that matches it in 'app_files_ignore'."
            )
        return relative.as_posix()


def _match(folder: Path, written: str) -> list[Path]:
    """Return what is in *folder* for a name with the wildcards of ``COPY``."""
    if not re.search(r"[*?\[]", written):
        return []
    # Several stars are one there, and a circumflex stands for none of a set.
    pattern = re.sub(r"\*+", "*", written).replace("[^", "[!")
    return sorted(folder.glob(pattern.lstrip("/")))


def check_file(path: Path) -> None:
    """
    Refuse a file that cannot travel; its content is not read.

    Raises:
        OptionError: The file is too large.

        OSError: The file may not be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > SIZE_LIMIT:
            raise OptionError(f"{path} has more than {SIZE_LIMIT} bytes, and cannot travel.")


def content_hash(path: Path, mode: int) -> str:
    """Return the hash by which the service knows a file with this content and *mode*."""
    return sha256_of(path, str(mode).encode())


def sha256_of(path: Path, suffix: bytes = b"") -> str:
    """Return the SHA-256 of the content of a file, followed by *suffix*."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    digest.update(suffix)
    return digest.hexdigest()


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
