"""
Directories in which source archives are unpacked.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fal_core_worker.archives import cache_root, unpack


@pytest.fixture
def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("told/__init__.py", "value = 1\n")
        file.writestr("told/data.txt", "2")
    return buffer.getvalue()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    An empty cache, and an empty directory for temporary files.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "cache"


def block(path: Path) -> None:
    """
    Put a file where a directory would have to be made.
    """
    path.write_text("")


def test_an_archive_is_unpacked_once(cache: Path, archive: bytes) -> None:
    """
    Many who want one archive find it in one place, whole, with nothing beside it.
    """
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: unpack("digest", archive), range(32)))
    assert paths == {str(cache / "sources" / "digest")}
    assert os.listdir(cache / "sources") == ["digest"]
    assert (cache / "sources/digest/told/data.txt").read_text() == "2"
    assert unpack("digest", b"not needed") in paths


def test_temporary_files_are_next_to_the_cache(
    cache: Path, tmp_path: Path, archive: bytes
) -> None:
    """
    If the cache cannot be written, files are kept in a directory that only this user can write.
    """
    block(cache)
    root = tmp_path / "temporary" / f"fal-core-{os.getuid()}"
    assert unpack("digest", archive) == str(root / "sources" / "digest")
    assert root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("others", ["may write", "chose it"])
def test_archives_that_others_can_write_are_not_run(
    cache: Path, tmp_path: Path, archive: bytes, others: str
) -> None:
    """
    A temporary directory that is not this user's own is left alone.
    """
    block(cache)
    root = tmp_path / "temporary" / f"fal-core-{os.getuid()}"
    if others == "may write":
        root.mkdir()
        root.chmod(0o777)
    else:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        root.symlink_to(tmp_path / "elsewhere")
    path = unpack("digest", archive)
    assert path.startswith("/proc/self/fd/")
    os.close(int(path.rpartition("/")[2]))
    assert os.listdir(root) == []


def test_modules_are_imported_from_memory(cache: Path, tmp_path: Path, archive: bytes) -> None:
    """
    If nothing can be written, modules are imported from memory.
    """
    block(cache)
    block(tmp_path / "temporary" / f"fal-core-{os.getuid()}")
    (tmp_path / "archive").write_bytes(archive)
    program = (
        "import sys; from fal_core_worker.archives import add_source; "
        "add_source(b'digest'.ljust(64) + open(sys.argv[1], 'rb').read()); "
        "import told; print(told.value, told.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "archive")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("1 /proc/self/fd/"), done.stderr


@pytest.mark.parametrize(
    ("named", "root"),
    [
        ({"FAL_CORE_CACHE": "~/kept"}, "home/kept"),
        ({"FAL_CORE_CACHE": "kept"}, "here/kept"),
        ({"FAL_CORE_CACHE": "", "XDG_CACHE_HOME": ""}, "home/.cache/fal-core"),
        ({"FAL_CORE_CACHE": "", "XDG_CACHE_HOME": "cache"}, "here/cache/fal-core"),
    ],
)
def test_root_is_absolute(
    named: dict[str, str], root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The root of the cache is where the variables say, also once the process has moved.
    """
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == str(tmp_path / root)
