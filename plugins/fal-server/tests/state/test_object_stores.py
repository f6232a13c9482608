"""Object stores: what is told where one cannot be used, or cannot be reached for a while."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import s3_servers

from fal_server.errors import ServerError, StateUnavailable
from fal_server.state.file_stores import FolderStore
from fal_server.state.object_stores import ObjectStore
from fal_server.state.opened_stores import open_files

URL = f"s3://{s3_servers.BUCKET}"
SECRET = s3_servers.CREDENTIALS["AWS_SECRET_ACCESS_KEY"]


def write(store: ObjectStore, content: bytes) -> Path:
    place = store.place_of("new")
    place.write_bytes(content)
    return place


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server of S3 of one test, which may end it."""
    reason = s3_servers.missing()
    if reason is not None:
        pytest.skip(reason)
    import s3fs

    server = s3_servers.S3Server()
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield server
    s3fs.S3FileSystem.clear_instance_cache()
    server.close()


def test_store_that_is_gone_for_a_while(
    gone: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """
    What cannot be stored or read waits until the store can be reached again. Where it waits
    for too long that is told, without credentials, and the file is still here.
    """
    store = open_files(URL, tmp_path)
    assert isinstance(store, ObjectStore)
    store.system.retries = 1
    gone.close()
    place = write(store, b"some")
    impatient = attrs.evolve(store, patience=0.0)
    caplog.set_level(logging.WARNING)
    with pytest.raises(StateUnavailable, match="files cannot be read or written at present"):
        impatient.put(place, "one")
    with pytest.raises(StateUnavailable):
        impatient.has("one")
    assert place.exists()
    assert "The files at files: " in caplog.text
    assert SECRET not in caplog.text
    caplog.clear()
    putting = threading.Thread(target=store.put, args=(place, "one"))
    putting.start()
    while "The files at files: " not in caplog.text:
        # It was tried in vain.
        assert putting.is_alive()
        putting.join(0.01)
    gone.start()
    putting.join()
    assert b"".join(store.pieces("one", 4)) == b"some"
    assert not place.exists()


def test_bucket_that_is_not_there(s3: Any, tmp_path: Path):
    """A bucket that is not there is told at once."""
    with pytest.raises(ServerError, match=r"kept at 's3://none/a': .*bucket does not exist"):
        open_files("s3://none/a", tmp_path)


def test_leftovers_of_a_killed_server_are_removed(s3: Any, tmp_path: Path):
    """What a server was writing on this machine when it was killed is removed."""
    store = open_files(f"{URL}/{uuid.uuid4().hex}", tmp_path)
    assert isinstance(store, ObjectStore)
    left = write(store.below("blobs"), b"left")
    assert left.exists()
    open_files(URL, tmp_path)
    assert not left.exists()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://host/folder", "Files cannot be kept at 'ftp://host/folder'. Write the URL of"),
        ("s3://key:hidden@bucket", "'s3://bucket' must be the URL of a bucket and a prefix"),
        ("s3://bucket?secret=hidden", "'s3://bucket' must be the URL of a bucket and a prefix"),
        ("s3:///prefix", "'s3:///prefix' must be the URL of a bucket and a prefix alone"),
        ("gs://bucket", "need the package gcsfs, which is not installed where the server runs"),
        ("az://bucket", "Install it with 'pip install adlfs'."),
        ("file://host/srv", "'file://host/srv' is not the URL of a folder."),
        ("srv/files", "'srv/files' is not the URL of a folder. Write its whole path"),
    ],
)
def test_url_that_names_no_store(tmp_path: Path, url: str, sentence: str):
    """What is wrong with a URL is said in one sentence, without what may be a secret."""
    if url.startswith("gs"):
        pytest.importorskip("fsspec", reason="Without it, its sentence is that of another one.")
    with pytest.raises(ServerError, match=re.escape(sentence)) as caught:
        open_files(url, tmp_path)
    assert "hidden" not in str(caught.value)


def test_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    Where nothing is installed for object stores, the package for the one that is asked for is
    named.
    """
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ServerError, match=r"need the package s3fs.*'pip install s3fs'"):
        open_files(URL, tmp_path)


def test_shared_folder(tmp_path: Path):
    """A folder by its URL is made, and shared. One that cannot be written is told."""
    store = open_files(f"file://{tmp_path}/a%20folder", tmp_path / "data")
    assert store == FolderStore(tmp_path / "a folder", is_shared=True)
    assert not os.listdir(tmp_path / "a folder")
    assert store.below("blobs").is_shared
    assert not open_files(None, tmp_path).is_shared
    (tmp_path / "file").touch()
    with pytest.raises(ServerError, match=r"Files cannot be kept in .*: Not a directory"):
        open_files(f"file://{tmp_path}/file/a", tmp_path / "data")
