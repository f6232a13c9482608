"""Downloads: whole files at their place, or a clear error and what was there before."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_serve.media import downloads, fetching
from fal_serve.media.downloads import download_file, download_model_weights, fetch_to
from fal_serve.media.errors import DownloadError, MediaInputError
from fal_serve.media.files import CompressedFile, File


def test_file_has_the_name_that_its_server_gives(files: Any, tmp_path: Path):
    """The header names the file, else the URL does; a name never leads out of the folder."""
    named = files.give("/a", b"1", Content_Disposition='attachment; filename="../../b.bin"')
    assert download_file(named, tmp_path) == tmp_path / "b.bin"
    plain = files.give("/folder/c.bin", b"2")
    assert download_file(f"{plain}?token=secret", tmp_path).read_bytes() == b"2"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["b.bin", "c.bin"]
    digest = hashlib.sha256(f"{files.url}/".encode()).hexdigest()
    assert download_file(files.give("/", b"3"), tmp_path).name == digest


def test_relative_folder_is_below_data(files: Any, data: Path):
    """A relative folder, and one below /data, is in the directory of the account."""
    url = files.give("/a.bin", b"1")
    assert download_file(url, "here") == data / "here" / "a.bin"
    assert download_file(url, "/data/there") == data / "there" / "a.bin"


def test_file_of_the_same_size_is_kept(files: Any, tmp_path: Path):
    """
    A file that is there with the announced size is not downloaded again, unless that is
    forced, or its digest is another one than was asked for.
    """
    url = files.give("/a.bin", b"new")
    (tmp_path / "a.bin").write_bytes(b"old")
    assert download_file(url, tmp_path).read_bytes() == b"old"
    digest = hashlib.sha256(b"new").hexdigest()
    assert download_file(url, tmp_path, sha256=digest).read_bytes() == b"new"
    (tmp_path / "a.bin").write_bytes(b"old")
    assert download_file(url, tmp_path, force=True).read_bytes() == b"new"


def refuse(url: str, folder: Path, **options: Any) -> str:
    """Return the error of a download, which leaves nothing."""
    (folder / "a.bin").write_bytes(b"what was there")
    with pytest.raises(DownloadError) as caught:
        download_file(url, folder, **options)
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == {
        "a.bin": b"what was there"
    }
    return str(caught.value)


def test_refused_downloads(files: Any, tmp_path: Path):
    """
    What cannot be downloaded whole is told in a sentence without secrets, and leaves what
    was at its place.
    """
    url = files.give("/a.bin", b"x" * 3_000_000)
    query = f"{url}?token=secret"
    assert refuse(query, tmp_path, filesize_limit=1) == (
        f"{url} has 3000000 bytes, and may have 1048576."
    )
    unsized = files.give("/u/a.bin", b"x" * 3_000_000, Content_Length="")
    assert refuse(unsized, tmp_path, filesize_limit=1) == (
        f"{unsized} has more than 1048576 bytes, and may have 1048576."
    )
    digest = hashlib.sha256(b"x" * 3_000_000).hexdigest()
    assert refuse(url, tmp_path, sha256="0" * 64) == (
        f"{url} has the SHA-256 {digest}, and should have {'0' * 64}. It was not kept."
    )
    short = files.give("/s/a.bin", b"1234", Content_Length="9")
    assert "4 of 9 bytes came" in refuse(short, tmp_path)
    gone = files.url + "/gone"
    assert refuse(gone, tmp_path) == (
        f"{gone} cannot be downloaded: its server answered with 404 Not Found."
    )
    huge = files.give("/h/a.bin", b"", Content_Length=str(1 << 60))
    assert f"has {1 << 60} bytes or more, and the disk of" in refuse(huge, tmp_path)
    assert "has to begin with https://" in refuse("ftp://example.com/a", tmp_path)
    assert "is not known" in refuse("http://host.invalid/a", tmp_path)
    assert "The data URL cannot be read" in refuse("data:text/plain;base64,?", tmp_path)
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        download_file(url, tmp_path, sha256="abc")


def test_limits_of_files_of_callers(
    files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A file of a caller has a most size and leaves some of the disk free, whether or not its
    size is announced, and nothing of it is left.
    """
    unsized = files.give("/a", b"x" * 3_000_000, Content_Length="")
    sized = files.give("/b", b"x" * 3_000_000)
    monkeypatch.setenv("FAL_SERVE_DOWNLOAD_SIZE", "2000000")
    for url in (unsized, sized):
        with pytest.raises(MediaInputError, match=r"may have 2000000\.$"):
            File(url=url).save(tmp_path / "file")
        with pytest.raises(MediaInputError, match=r"may have 2000000\.$"):
            list(CompressedFile(url=url))
    monkeypatch.delenv("FAL_SERVE_DOWNLOAD_SIZE")
    monkeypatch.setattr(downloads, "_RESERVE", 1 << 60)
    for url in (unsized, sized):
        with pytest.raises(MediaInputError, match=f"of which {1 << 60} stay free"):
            File(url=url).save(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def sending(start: bytes, monkeypatch: pytest.MonkeyPatch, *, goes_on: bool) -> Iterator[str]:
    """Yield the URL of a sender who sends *start*, and then little by little or nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            with contextlib.suppress(OSError), server.accept()[0] as connection:
                connection.sendall(start)
                while not over.wait(0.01):
                    connection.sendall(b"x" if goes_on else b"")

        server.settimeout(30)
        over, sender = threading.Event(), threading.Thread(target=send)
        sender.start()
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("FAL_SERVE_DOWNLOAD_HOSTS", "127.0.0.1")
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/a"
        finally:
            over.set()
            sender.join()


STARTS = pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Endless: "],
    ids=["body", "headers"],
)


@STARTS
def test_sender_without_end(start: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A download whose sender goes on slowly ends at the deadline, wherever it is then."""
    monkeypatch.setenv("FAL_SERVE_DOWNLOAD_SECONDS", "1")
    with (
        sending(start, monkeypatch, goes_on=True) as url,
        pytest.raises(MediaInputError, match="not downloaded whole in 1 seconds"),
    ):
        File(url=url).save(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@STARTS
def test_download_that_may_take_so_long(
    start: bytes, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
):
    """So does what a program downloads for itself, where it says how long that may take."""
    for download in (
        lambda url: download_file(url, tmp_path, timeout=0.5),
        lambda url: download_model_weights(url, timeout=0.5),
    ):
        with (
            sending(start, monkeypatch, goes_on=True) as url,
            pytest.raises(DownloadError, match=r"not downloaded whole in 0\.5 seconds"),
        ):
            download(url)
    assert not any(each.is_file() for each in tmp_path.rglob("*"))


@STARTS
def test_sender_that_falls_silent(
    start: bytes, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nobody waits for a sender of whom nothing comes for a while."""
    monkeypatch.setattr(fetching, "_SECONDS", 0.2)
    with (
        sending(start, monkeypatch, goes_on=False) as url,
        pytest.raises(DownloadError, match="nothing came for"),
    ):
        download_file(url, tmp_path)


def test_folder_that_cannot_be_made(files: Any, tmp_path: Path):
    """A folder that cannot be made is an error that names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match=r"cannot be kept in .*/file/folder: Not a dir"):
        download_file(files.give("/a", b""), tmp_path / "file" / "folder")


def test_private_addresses(files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    Nothing is downloaded from this machine or a private network unless it was named, however
    the address is written, and not by a redirection either.
    """
    url = files.give("/a.bin", b"1")
    files.give("/there", b"", 302, Location="http://[::1]:9/a.bin")
    assert "'::1' is of this machine" in refuse(files.url + "/there", tmp_path)
    monkeypatch.delenv("FAL_SERVE_DOWNLOAD_HOSTS")
    port = files.host.partition(":")[2]
    for host in (
        "127.0.0.1",
        "localhost",
        "2130706433",
        "10.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[fec0::1]",
    ):
        assert "FAL_SERVE_DOWNLOAD_HOSTS" in refuse(f"http://{host}:{port}/a.bin", tmp_path)
    monkeypatch.setenv("FAL_SERVE_DOWNLOAD_HOSTS", "other, LOCALHOST")
    (tmp_path / "a.bin").unlink()
    assert download_file(url.replace("127.0.0.1", "localhost"), tmp_path).exists()


def test_redirections(files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Redirections are followed, without credentials to another host, and not for ever."""
    monkeypatch.setenv("FAL_SERVE_DOWNLOAD_HOSTS", "*")
    port = files.host.partition(":")[2]
    files.give("/a.bin", b"1")
    files.give("/same", b"", 302, Location="/a.bin")
    files.give("/other", b"", 307, Location=f"http://localhost:{port}/a.bin")
    given = {"Authorization": "secret", "X-Mine": "1"}
    for path in ("/same", "/other"):
        download_file(files.url + path, tmp_path, force=True, request_headers=given)
    same, other = (headers for path, headers in files.asked if path == "/a.bin")
    assert same["authorization"] == "secret"
    assert "authorization" not in other
    assert other["x-mine"] == "1"
    for each in tmp_path.iterdir():
        each.unlink()
    assert "more than 5 times" in refuse(
        files.give("/loop", b"", 302, Location="/loop"), tmp_path
    )


def test_proxy(files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A proxy is asked where there is one, and not for an address of a private network."""
    monkeypatch.setenv("http_proxy", files.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    files.give("http://files.example/a.bin", b"by proxy")
    path = download_file("http://files.example/a.bin?b=c", tmp_path)
    assert path.read_bytes() == b"by proxy"
    assert files.asked[0][1]["host"] == "files.example"
    for host in ("10.0.0.1", "127.1", "2130706433", "[64:ff9b::7f00:1]", "localhost"):
        assert "FAL_SERVE_DOWNLOAD_HOSTS" in refuse(f"http://{host}/a.bin", tmp_path)
    assert len(files.asked) == 1
    monkeypatch.setenv("no_proxy", "files.example")
    assert "'files.example' is not known" in refuse("http://files.example/a.bin", tmp_path)


def test_abandoned_downloads_are_removed(files: Any, tmp_path: Path):
    """What a killed process has left of a download is removed a day later."""
    for name, age in (("old", 90_000), ("new", 0)):
        path = tmp_path / f".fal_download.{name}"
        path.write_bytes(b"1")
        then = path.stat().st_mtime - age
        os.utime(path, (then, then))
    download_file(files.give("/a.bin", b"1"), tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {".fal_download.new", "a.bin"}


def test_weights_are_downloaded_once(files: Any, data: Path):
    """Weights are downloaded once, and again if that is forced or their digest is another one."""
    url = files.give("/model.bin", b"weights")
    path = download_model_weights(url)
    folder = data / ".fal" / "model_weights" / hashlib.sha256(url.encode()).hexdigest()
    assert path == folder / "model.bin"
    assert download_model_weights(url) == path
    assert (len(files.asked), (folder / ".fal_used").exists()) == (1, True)
    files.give("/model.bin", b"better!")
    digest = hashlib.sha256(b"better!").hexdigest()
    assert download_model_weights(url, sha256=digest).read_bytes() == b"better!"
    assert download_model_weights(url, sha256=digest) == path
    assert len(files.asked) == 2
    assert download_model_weights(url, force=True) == path
    with pytest.raises(DownloadError, match="404"):
        download_model_weights(files.url + "/gone")


def test_weights_that_are_too_large(files: Any, data: Path):
    """Weights may have so many megabytes, where that is said."""
    url = files.give("/large.bin", b"x" * 3_000_000)
    with pytest.raises(DownloadError, match="has 3000000 bytes, and may have 1048576"):
        download_model_weights(url, filesize_limit=1)
    assert download_model_weights(url, filesize_limit=3).stat().st_size == 3_000_000


def test_data_url(tmp_path: Path):
    """The content of a data URL is saved like that of any other."""
    fetch_to("data:text/plain;base64,aGVsbG8=", tmp_path / "a")
    fetch_to("data:,hello%20there", tmp_path / "b")
    assert (tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes() == b"hellohello there"


def test_proxy_that_looks_at_no_address(
    files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    The proxy of an agent, which looks at no address, is left out, so that addresses are looked
    at here.
    """
    for name in ("http_proxy", "FAL_CORE_DIRECT_PROXY"):
        monkeypatch.setenv(name, files.url)
    for name in ("no_proxy", "NO_PROXY", "FAL_SERVE_DOWNLOAD_HOSTS"):
        monkeypatch.delenv(name, raising=False)
    assert "'files.invalid' is not known" in refuse("http://files.invalid/a.bin", tmp_path)
    assert "FAL_SERVE_DOWNLOAD_HOSTS" in refuse(files.url + "/a.bin", tmp_path)
    assert not files.asked
