"""Roots of images, made of programs of this machine, once for all processes of a run of the tests."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

#: What a Debian image has, which has links in place of these directories.
_MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}

#: What an image with a Python has.
PROGRAMS = ("sh", "cat", "ls", "sleep", "python3")

#: The beginning of a program for the processor aarch64.
_AARCH64 = b"\x7fELF\2\1\1" + bytes(9) + bytes([2, 0, 183, 0, 1]) + bytes(43)


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return a directory of this run of the tests, in all processes that share it."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def once(place: Path, write: Callable[[Path], None]) -> Path:
    """Have one of the processes that share *place* write it, and return it."""
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            new = place.with_name(f"{place.name}.new")
            write(new)
            new.rename(place)
    return place


def python_archive(folder: Path) -> Path:
    """Return the archive, in *folder*, of the root of an image that has the system's Python."""
    folders = [standard_library()]
    return once(
        folder / "python.tar", lambda place: write_root(place, PROGRAMS, folders=folders)
    )


def write_root(
    archive: Path, programs: Sequence[str], *, folders: Iterable[str] = (), prefix: str = ""
) -> None:
    """Write an archive of the root of an image with *programs*, and what they load."""
    files: dict[str, str] = {}
    for name in programs:
        found = find_program(name)
        files[f"usr/bin/{name}"] = found
        files |= {path.lstrip("/"): path for path in _libraries(found)}
    with tarfile.open(archive, "w") as stream:
        for link, target in _MERGED.items():
            _add_directory(stream, target)
            entry = tarfile.TarInfo(prefix + link)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            stream.addfile(entry)
        for name in ("tmp", "etc", "root", "proc", "sys", "dev", "run", "var/tmp"):
            _add_directory(stream, name, mode=0o1777 if name.endswith("tmp") else 0o755)
        for folder in folders:
            modules = map(str, Path(folder).rglob("lib-dynload/*.so"))
            files |= {path.lstrip("/"): path for path in _libraries(*modules)}
        for path, source in files.items():
            first, _, rest = path.partition("/")
            stream.add(os.path.realpath(source), prefix + f"{_MERGED.get(first, first)}/{rest}")
        for folder in folders:
            stream.add(folder, prefix + folder.lstrip("/"), filter=_without_tests)


def write_foreign_root(archive: Path) -> None:
    """Write an archive of the root of an image for another processor."""
    with tarfile.open(archive, "w") as stream:
        for name in ("usr", "usr/bin"):
            _add_directory(stream, name)
        for program in ("sh", "python3", "true"):
            entry = tarfile.TarInfo(f"usr/bin/{program}")
            entry.mode, entry.size = 0o755, len(_AARCH64)
            stream.addfile(entry, io.BytesIO(_AARCH64))
        link = tarfile.TarInfo("bin")
        link.type, link.linkname = tarfile.SYMTYPE, "usr/bin"
        stream.addfile(link)


def _add_directory(stream: tarfile.TarFile, name: str, *, mode: int = 0o755) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, mode
    stream.addfile(entry)


def find_program(name: str) -> str:
    """Return the path of a program of the system."""
    found = shutil.which(name, path="/usr/bin:/bin")
    assert found is not None, f"this machine has no {name}"
    return found


def _libraries(*programs: str) -> list[str]:
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True)
    words = (word for line in done.stdout.splitlines() for word in line.split())
    return [word for word in words if word.startswith("/") and os.path.exists(word)]


def standard_library() -> str:
    """Return the directory of the standard library of the system's Python."""
    ask = "import sysconfig; print(sysconfig.get_path('stdlib'))"
    command = [find_program("python3"), "-I", "-c", ask]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _without_tests(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = entry.name.split("/")
    left_out = ("test", "tests", "__pycache__", "idlelib", "EXTERNALLY-MANAGED", "lib2to3")
    return (
        None if any(part in left_out or part.startswith("config-") for part in parts) else entry
    )
