"""Directories in which source archives are unpacked."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fal_core_worker.archives import ForeignCache, cache_directory, cache_root, find, unpack


@pytest.fixture
def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("told/__init__.py", "value = 1\n")
        file.writestr("told/data.txt", "2")
    return buffer.getvalue()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an empty directory for temporary files."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "cache"


def block(path: Path) -> None:
    """Put a file where a directory would have to be made."""
    path.write_text("")


def test_an_archive_is_unpacked_once(cache: Path, archive: bytes) -> None:
    """Many who want one archive find it in one place, whole, with nothing beside it."""
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: unpack("digest", archive), range(32)))
    assert paths == {str(cache / "sources" / "digest")}
    assert os.listdir(cache / "sources") == ["digest"]
    assert (cache / "sources/digest/told/data.txt").read_text() == "2"
    assert unpack("digest", b"not needed") in paths


def test_temporary_files_are_next_to_the_cache(
    cache: Path, tmp_path: Path, archive: bytes
) -> None:
    """If the cache cannot be written, files are kept in a directory that only this user can write."""
    block(cache)
    root = tmp_path / "temporary" / f"fal-core-{os.getuid()}"
    assert unpack("digest", archive) == str(root / "sources" / "digest")
    assert root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("others", ["may write", "chose it"])
def test_archives_that_others_can_write_are_not_run(
    cache: Path, tmp_path: Path, archive: bytes, others: str
) -> None:
    """A temporary directory that is not this user's own is left alone."""
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
    """If nothing can be written, modules are imported from memory."""
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


PARTS = """
import os, sys
from fal_core_worker.archives import add_path

def make(name, files):
    for inside, text in files.items():
        path = os.path.join(name, inside)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").write(text)
    return os.path.abspath(name)

first = make("first", {"shop/__init__.py": "", "shop/one.py": "value = 1"})
deep = {"shop/deep/__init__.py": "from shop import two", "shop/two.py": "value = 2"}
second = make("second", {"shop/__init__.py": "", **deep})
assert not add_path(first)
import shop.one
assert not add_path(second)
import shop.deep
assert (shop.one.value, shop.deep.two.value) == (1, 2)
try:
    import shop.three
except ModuleNotFoundError as error:
    assert error.name == "shop.three"

edited = make("edited", {"shop/__init__.py": "", "shop/one.py": "value = 10"})
assert add_path(edited)
assert not [name for name in sys.modules if name.startswith("shop")]
import shop.one, shop.two
assert (shop.one.value, shop.two.value) == (10, 2)
assert first not in sys.path
assert not add_path(edited)
assert add_path(first)
import shop.one
assert shop.one.value == 1
print("done")
"""


def test_archives_with_parts_of_one_package(tmp_path: Path) -> None:
    """
    Modules of a package are found in all archives that have a part of it; one that has a
    part in another version replaces those that have the older one.
    """
    command = [sys.executable, "-c", PARTS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "done\n", done.stderr


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
    """The root of the cache is where the variables say, also once the process has moved."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == str(tmp_path / root)


needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="Only root makes directories of other users."
)

#: The id of a user that there is none of.
STRANGER = 54321


def give_away(path: Path, *, link_to: Path | None = None) -> None:
    """Make a directory of another user, or a link of theirs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if link_to is not None:
        link_to.mkdir()
        path.symlink_to(link_to)
    else:
        path.mkdir()
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


@needs_root
@pytest.mark.parametrize("given", ["", "things", "link", "link of things"])
@pytest.mark.parametrize("make", [False, True])
def test_directory_of_another_user_is_refused(
    cache: Path, tmp_path: Path, given: str, make: bool
) -> None:
    """
    A cache of another user, or a directory of theirs in it, is refused with their name and
    what to set, also where it is a link to a directory of this user.
    """
    foreign = cache / "things" if "things" in given else cache
    link_to = tmp_path / "own" if "link" in given else None
    give_away(foreign, link_to=link_to)
    with pytest.raises(ForeignCache) as caught:
        cache_directory("things", make=make)
    assert str(caught.value) == (
        f"The cache directory {foreign} is refused: it belongs to the user with the id "
        f"{STRANGER}. Set the variable FAL_CORE_CACHE to a directory of yours."
    )
    assert list(foreign.iterdir()) == []


def test_directories_of_the_cache_are_for_this_user_alone(cache: Path) -> None:
    """
    Directories are made for this user alone, whatever the process gives to others, and a
    link of the user's own is followed.
    """
    before = os.umask(0)
    try:
        made = cache_directory("things", make=True)
    finally:
        os.umask(before)
    assert made == str(cache / "things")
    assert [each.stat().st_mode & 0o777 for each in (cache, cache / "things")] == [0o700] * 2
    (cache / "more").symlink_to(cache / "things")
    assert cache_directory("more") == str(cache / "more")
    assert cache_directory("none") == str(cache / "none")


@needs_root
@pytest.mark.parametrize("given", ["cache", "cache/sources"])
def test_archives_that_others_have_unpacked_are_not_run(
    cache: Path, tmp_path: Path, archive: bytes, given: str
) -> None:
    """A worker takes no modules from a cache of another user, and does without it."""
    give_away(tmp_path / given)
    (cache / "sources" / "digest" / "told").mkdir(parents=True)
    root = tmp_path / "temporary" / f"fal-core-{os.getuid()}"
    assert find("digest") is None
    assert unpack("digest", archive) == str(root / "sources" / "digest")
