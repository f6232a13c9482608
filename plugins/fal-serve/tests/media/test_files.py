"""Files in requests and responses."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel, ValidationError

from fal_serve.answering.requests import RequestContext
from fal_serve.media.errors import (
    FileUploadException,
    FileUploadFallbackException,
    MediaInputError,
)
from fal_serve.media.files import CompressedFile, File
from fal_serve.media.kept_files import find_own, keeping
from fal_serve.media.repositories import (
    FalFileRepository,
    FileData,
    FileRepository,
    find_repository,
)


class Memory(FileRepository):
    """A repository of a test."""

    def __init__(self, broken: bool = False) -> None:
        self.saved: list[tuple[FileData, Any]] = []
        self.broken = broken

    def save(
        self, data: FileData, *_: Any, object_lifecycle_preference: Any = None, **__: Any
    ) -> str:
        if self.broken:
            raise FileUploadException("the disk is full")
        self.saved.append((data, object_lifecycle_preference))
        return f"memory://{data.file_name}"


def test_text_stands_for_a_file():
    """
    In a request, the URL alone is a file; a text that is none, and any other value, is an
    invalid field.
    """

    class Request(BaseModel):
        file: File

    assert Request.model_validate({"file": "https://host/a"}).file.url == "https://host/a"
    told = {"url": "https://host/a", "content_type": "image/png"}
    assert Request.model_validate({"file": told}).file.content_type == "image/png"
    for wrong in ("a.png", "javascript:x", "//[", 7, None):
        with pytest.raises(ValidationError):
            Request.model_validate({"file": wrong})


def test_file_is_kept_in_a_repository(tmp_path: Path):
    """A repository of one's own gets the content, and the file has its URL and facts."""
    memory = Memory()
    file = File.from_bytes(b"words", "text/plain", "a.txt", repository=memory)
    assert file.model_dump() == {
        "url": "memory://a.txt",
        "content_type": "text/plain",
        "file_name": "a.txt",
        "file_size": 5,
    }
    assert file.as_bytes() == b"words"
    (tmp_path / "b.json").write_text("{}")
    found = File.from_path(tmp_path / "b.json", repository=memory)
    assert (found.content_type, found.file_size, found.url) == (
        "application/json",
        2,
        "memory://b.json",
    )
    later = asyncio.run(File.from_bytes_async(b"1", repository=memory))
    assert later.file_name is not None
    assert later.file_name.endswith(".bin")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        File.from_path(tmp_path / "c")
    with pytest.raises(ValueError, match="Call save"):
        File(url="https://host/a").as_bytes()


def test_repositories_in_turn(caplog: pytest.LogCaptureFixture):
    """
    The next repository keeps what one could not, and the log says why; if none could, the
    error has all reasons.
    """
    working, broken = Memory(), Memory(broken=True)
    kept = File.from_bytes(b"1", repository=broken, fallback_repository=[broken, working])
    assert kept.url.startswith("memory://")
    assert "Memory gets a file that was not taken: the disk is full" in caplog.text
    with pytest.raises(FileUploadException, match=r"^the disk is full$"):
        File.from_bytes(b"1", repository=broken, fallback_repository=None)
    with pytest.raises(FileUploadFallbackException) as caught:
        File.from_bytes(b"1", repository=broken, fallback_repository=broken)
    assert str(caught.value).count("Memory: the disk is full") == 2
    with pytest.raises(ValueError, match=r"no repository 'r3'\. Use one of fal, .*, r2, cdn"):
        find_repository(cast(Any, "r3"))
    with pytest.raises(FileUploadException, match="gives no URL"):
        File.reserve(repository=working)


def test_file_outside_of_a_service(tmp_path: Path):
    """Outside of a service a small file is in its URL, and a large one is refused."""
    file = File.from_bytes(b"words", "text/plain")
    assert file.url == "data:text/plain;base64,d29yZHM="
    assert file.save(tmp_path / "a").read_bytes() == b"words"
    with pytest.raises(FileExistsError, match="overwrite=True"):
        file.save(tmp_path / "a")
    assert file.save(tmp_path / "a", overwrite=True) == tmp_path / "a"
    with pytest.raises(FileUploadException, match="may have 16777216"):
        File.from_bytes(bytes((16 << 20) + 1))
    with pytest.raises(MediaInputError, match="has to begin with https"):
        File(url="memory://a").save(tmp_path / "b")


def archive(*members: tuple[str, bytes]) -> str:
    """Return the URL of an archive."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as written:
            for name, content in members:
                written.writestr(name, content)
        return File.from_bytes(file.getvalue(), "application/zip").url


def test_archives(tmp_path: Path):
    """
    An archive is unpacked at its first use, not beyond its limit and not out of its folder,
    and what was unpacked goes with it.
    """
    packed = CompressedFile(url=archive(("a.txt", b"1"), ("../b.txt", b"2")))
    assert sorted(each.name for each in packed) == ["a.txt", "b.txt"]
    assert [each.read_bytes() for each in packed.glob("a*")] == [b"1"]
    assert packed.extract_dir is not None
    folder = Path(packed.extract_dir)
    del packed
    assert not folder.exists()

    class Small(CompressedFile):
        most_bytes = 3

    with pytest.raises(MediaInputError, match="has 1 files of 4 bytes"):
        list(Small(url=archive(("a", b"1234"))))
    with pytest.raises(MediaInputError, match="cannot be unpacked"):
        list(CompressedFile(url=File.from_bytes(b"no archive").url))


def test_file_of_a_service(tmp_path: Path):
    """In a service a file is kept by the service, from which it reads it without a request."""
    with keeping("http://127.0.0.1:1"):
        file = File.from_bytes(b"words", "text/plain", "a b.txt")
        assert file.url.startswith("http://127.0.0.1:1/fal-media/")
        assert file.url.endswith("/a%20b.txt")
        assert File(url=file.url).save(tmp_path / "c").read_bytes() == b"words"


def test_url_before_the_content(tmp_path: Path):
    """
    In a service, the URL of a file that is sent later leads to nothing until then; it gets
    one content, or is given up, and a content that cannot be read may be sent again.
    """
    wish = {"expiration_duration_seconds": "60"}
    request = RequestContext("one", None, wish, {"host": "elsewhere"})
    with keeping("http://127.0.0.1:1"):
        pending = File.reserve("text/plain", "a b.txt", request)
        assert pending.url.startswith("http://127.0.0.1:1/fal-media/")
        assert pending.url.endswith("/a%20b.txt")
        assert find_own(pending.url) is None
        with pytest.raises(FileNotFoundError):
            pending.complete(tmp_path / "a")
        (tmp_path / "a").write_bytes(b"words")
        file = pending.complete(tmp_path / "a")
        assert file.url == pending.url
        assert (file.file_size, file.content_type, file.file_data) == (5, "text/plain", None)
        assert file.save(tmp_path / "b").read_bytes() == b"words"
        found = find_own(file.url)
        assert found is not None
        assert found.expires is not None
        with pytest.raises(FileUploadException, match="has its content already"):
            pending.complete(b"others")
        dropped = File.reserve("text/plain")
        dropped.abort()
        with pytest.raises(FileUploadException, match="was given up already"):
            dropped.complete(b"words")
        # The same content again is on the disk once, and has another URL.
        other = File.reserve("text/plain", "a b.txt").complete(b"words")
        assert other.url != file.url
        own = find_own(other.url)
        assert own is not None
        assert own.path == found.path
    with pytest.raises(FileUploadException, match="Outside of a service"):
        File.reserve()
    with pytest.raises(FileUploadException, match="No server runs this process"):
        _ = FalFileRepository().auth_headers
