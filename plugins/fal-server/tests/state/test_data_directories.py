"""The data directory: only its owner can read it."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fal_server.errors import ServerError
from fal_server.state import data_directories
from fal_server.state.data_directories import DataDirectory


def test_secret_files_are_private(plane):
    """The data directory and all keys in it are for their owner alone."""
    assert plane.directory.path.stat().st_mode & 0o077 == 0
    names = ["owner.key", "signing.key", "secrets.key", "tls/ca.key", "tls/server.pem"]
    names += [each.name for each in plane.directory.path.glob("state.db*")]
    assert "state.db" in names
    for name in names:
        assert (plane.directory.path / name).stat().st_mode & 0o777 == 0o600, name


def modes(folder: Path) -> list[int]:
    """Return the permissions of a directory and of the files in it, by name."""
    return [each.stat().st_mode & 0o777 for each in (folder, *sorted(folder.iterdir()))]


def make_folder(folder: Path, *names: str) -> Path:
    """Make a directory with files that others may read."""
    folder.mkdir()
    for name in names:
        (folder / name).touch()
        (folder / name).chmod(0o644)
    folder.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    "names", [(), ("lock",), ("lock", "state.db"), ("secrets.key", "state.db-wal")]
)
def test_directory_that_others_may_read_is_closed(tmp_path: Path, names: tuple[str, ...]):
    """An empty directory, or one of a server, is for its owner alone from then on."""
    folder = make_folder(tmp_path / "data", *names)
    with DataDirectory(folder).locked():
        assert set(modes(folder)) == {0o700, 0o600}


def test_directory_with_other_files_is_refused_and_not_changed(tmp_path: Path):
    """A directory that is something else, such as a home directory, stays as it is."""
    folder = make_folder(tmp_path / "home", "notes.txt")
    with pytest.raises(ServerError, match="--data"), DataDirectory(folder).locked():
        pass
    assert [each.name for each in folder.iterdir()] == ["notes.txt"]
    assert modes(folder) == [0o755, 0o644]


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root makes directories of other users.")
def test_directory_of_another_user_is_refused(tmp_path: Path):
    """Another user could read and replace the keys of the server."""
    folder = make_folder(tmp_path / "data")
    os.chown(folder, 12345, 12345)
    with pytest.raises(ServerError, match="another user"), DataDirectory(folder).locked():
        pass
    assert list(folder.iterdir()) == []


def test_sockets_of_a_short_directory_are_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nothing is made elsewhere where the path is short enough."""
    monkeypatch.setattr(data_directories, "_LONGEST_SOCKETS", 4000)
    directory = DataDirectory(tmp_path / "data")
    assert directory.make_sockets() == directory.sockets == tmp_path / "data" / "sockets"
    (directory.sockets / "one").mkdir(parents=True)
    directory.drop_sockets(if_empty=True)
    assert directory.sockets.exists()
    directory.drop_sockets()
    assert not directory.sockets.exists()


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[DataDirectory]:
    """A data directory whose path is too long for the addresses of sockets."""
    directory = DataDirectory(tmp_path / ("d" * 150) / "data")
    yield directory
    directory.drop_sockets()


def test_sockets_of_a_deep_directory_have_short_paths(deep: DataDirectory):
    """
    They are in a directory that only its owner can enter, to which a link leads; also the
    next server finds them there, until no runner is left.
    """
    made = deep.make_sockets()
    assert (deep.path / "sockets").is_symlink()
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    folder = made / "0123456789abcdef"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "control"))
    assert deep.make_sockets() == deep.sockets == made
    deep.drop_sockets(if_empty=True)
    assert deep.sockets == made
    deep.drop_sockets()
    assert not made.exists()
    assert not (deep.path / "sockets").is_symlink()


def test_link_to_what_others_could_enter_is_replaced(deep: DataDirectory, tmp_path: Path):
    """
    Where a link leads elsewhere, as that of a copied directory or after the temporary files
    were removed, new sockets are made in a directory of their own.
    """
    place = deep.path / "sockets"
    first = deep.make_sockets()
    first.chmod(0o755)
    second = deep.make_sockets()
    assert second != first
    first.rmdir()
    second.rmdir()
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    place.unlink()
    place.symlink_to(other)
    assert deep.make_sockets() not in (other, second)
    assert other.is_dir()
    # An older version had a directory there.
    deep.drop_sockets(if_empty=True)
    (place / "one").mkdir(parents=True)
    deep.make_sockets()
    assert place.is_symlink()
