"""The routes for the files of accounts."""

from __future__ import annotations

import http.client
import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fal_server.errors import TooLarge


@pytest.fixture
def client(plane: Any):
    with plane.client() as opened:
        yield opened


def upload(client: Any, path: str, content: bytes, **query: str) -> Any:
    return client.post(
        f"/files/file/local/{path}",
        files={"file_upload": ("name", content)},
        params=query,
    )


def listed(client: Any, path: str) -> list[str]:
    answer = client.get(f"/files/list/{path}")
    assert answer.status_code == 200
    return sorted(each["path"] for each in answer.json())


def zipped(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def test_files(client: Any):
    """
    A file is sent, listed, read, renamed and removed, by its whole path and by that below
    /data.
    """
    assert upload(client, "/data/files/a b.txt", b"content").json() is True
    assert listed(client, "/data/files") == listed(client, "files") == ["/data/files/a b.txt"]
    assert client.get("/files/file//data/files/a b.txt").content == b"content"
    part = client.get("/files/file/files/a b.txt", headers={"Range": "bytes=3-4"})
    assert (part.status_code, part.content) == (206, b"te")
    moved = client.post("/files/rename/files/a b.txt", json={"destination": "/data/b/c"})
    assert moved.status_code == 200
    assert client.get("/files/file/b/c").content == b"content"
    assert client.delete("/files/file//data/b").status_code == 200
    assert client.get("/files/file/b/c").status_code == 404
    assert listed(client, "b") == []


def test_parts(client: Any):
    """
    A file that is sent in parts is there once it is complete, and leaves nothing behind; one
    that is cancelled is never there.
    """
    path = "/files/file/multipart//data/whole"
    id = client.post(f"{path}/initiate").json()["upload_id"]
    for number, content in ((2, b"second"), (1, b"first ")):
        answer = client.put(f"{path}/{id}/{number}", files={"file_upload": ("c", content)})
        assert answer.json()["part_number"] == number
    assert client.get("/files/file/whole").status_code == 404
    parts = {"parts": [{"part_number": 1, "etag": ""}, {"part_number": 2, "etag": ""}]}
    assert client.post(f"{path}/{id}/complete", json=parts).json() == {"etag": ""}
    assert client.get("/files/file/whole").content == b"first second"
    assert client.post(f"{path}/{id}/complete", json=parts).status_code == 404
    other = client.post(f"{path}/initiate").json()["upload_id"]
    assert client.post(f"{path}/{other}/cancel").status_code == 200
    assert client.put(f"{path}/{other}/1", files={"file_upload": b"x"}).status_code == 404


def test_large_parts(plane: Any, client: Any):
    """
    Large parts are written at their place as soon as they arrive, by the size that the form
    has; the file is read in ranges, and only if it has changed.
    """
    path, size = "/files/file/multipart//data/large", 1 << 20
    id = client.post(f"{path}/initiate").json()["upload_id"]
    contents = {3: b"c" * 1000, 1: b"a" * size, 2: b"b" * size}
    for number, content in contents.items():
        file = ("name", content, "text/x-\N{LATIN SMALL LETTER E WITH ACUTE}")
        assert client.put(f"{path}/{id}/{number}", files={"file_upload": file}).is_success
    folder = next(plane.settings.data.rglob(f"uploads/{id}"))
    assert {each.name for each in folder.iterdir()} == {
        "begun",
        "1.placed",
        "2.placed",
        "3",
        f"whole.{size}",
    }
    parts = {"parts": [{"part_number": number} for number in contents]}
    assert client.post(f"{path}/{id}/complete", json=parts).is_success
    assert not folder.exists()
    whole = client.get("/files/file/large")
    assert whole.content == b"".join(contents[number] for number in (1, 2, 3))
    assert whole.headers["Content-Type"] == "application/octet-stream"
    part = client.get("/files/file/large", headers={"Range": f"bytes={size - 1}-{size}"})
    assert (part.status_code, part.content) == (206, b"ab")
    none = client.get("/files/file/large", headers={"Range": "bytes=9000000-"})
    assert none.status_code == 416
    known = {"If-None-Match": whole.headers["ETag"]}
    assert client.get("/files/file/large", headers=known).status_code == 304
    two = {"file_upload": ("name", b"d" * size), "more": ("name", b"e" * size)}
    id = client.post(f"{path}/initiate").json()["upload_id"]
    assert client.put(f"{path}/{id}/1", files=two).is_success
    assert client.post(f"{path}/{id}/complete", json={"parts": [{"part_number": 1}]}).is_success
    assert client.get("/files/file/large").content == b"d" * size


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "/data/../x", "/", "x" * 300, "/database/x"]
)
def test_paths_that_are_refused(client: Any, path: str):
    """Paths out of /data, and those that are too long, are refused."""
    # The client would resolve them.
    quoted = path.replace("..", "%2e%2e")
    answer = upload(client, quoted, b"x")
    assert answer.status_code in {404, 422}, answer.text


def test_archives(client: Any):
    """The files of an archive are put into a directory, and a client knows it again by its hash."""
    content = zipped(**{"a.txt": "a", "sub/b.txt": "b", ".fal_hash": "12ab"})
    assert upload(client, "sync", content, unzip="true").json() is True
    assert client.get("/files/file/sync/sub/b.txt").content == b"b"
    for hash, is_known in (("12ab", True), ("other", False)):
        answer = client.post("/files/dir/check_hash/sync", json={"hash": hash})
        assert answer.json() is is_known
    assert client.post("/files/dir/check_hash/no", json={"hash": ""}).json() is False


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a\\b", "a/../../out", "."])
def test_archives_that_are_refused(client: Any, name: str):
    """An archive with a file that would be elsewhere is refused, and so is what is no archive."""
    refused = upload(client, "refused", zipped(**{"fine": "fine", name: "x"}), unzip="true")
    assert refused.status_code == 422
    assert upload(client, "refused", b"no zip", unzip="true").status_code == 422
    assert listed(client, "refused") == []


def test_accounts_have_files_of_their_own(plane: Any, client: Any):
    """An account sees nothing of the files of another one, and continues none of its uploads."""
    upload(client, "mine/secret", b"mine")
    path = "/files/file/multipart/whole"
    id = client.post(f"{path}/initiate").json()["upload_id"]
    with plane.client(plane.add_user("stranger")) as other:
        assert listed(other, "/data") == []
        assert other.get("/files/file/mine/secret").status_code == 404
        assert other.put(f"{path}/{id}/1", files={"file_upload": b"x"}).status_code == 404
        assert other.delete("/files/file/mine").status_code == 404
    assert client.get("/files/file/mine/secret").content == b"mine"


def test_permissions(plane: Any, account: str):
    """Reading and writing need their permissions, and nothing is answered without a key."""
    reader = plane.make_key(policy_preset="READONLY")
    with plane.client(reader) as client:
        assert listed(client, "/data") is not None
        assert upload(client, "x", b"x").status_code == 403
        assert client.delete("/files/file/x").status_code == 403
    # Applications load code from there: keys and tokens for their clients get nothing.
    caller = plane.make_key(policy_preset="API")
    runner = plane.plane.identity.runner_keys.issue("r", account).text
    with plane.client(caller) as client:
        token = client.post("/storage/auth/token").json()["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        headers: dict[str, str]
        for headers in ({}, {"Authorization": f"Key {runner}"}, bearer):
            client.headers.update(headers)
            assert client.get("/files/list//data").status_code == 403
            assert client.get("/files/file/x").status_code == 403
            assert upload(client, "x", b"x").status_code == 403
            assert client.delete("/files/file/x").status_code == 403
    with plane.client(plane.make_key(policy_preset="DEPLOY")) as client:
        assert upload(client, "x", b"x").status_code == 200
    with plane.client("no:key") as client:
        for method, path in (
            ("GET", "/files/list//data"),
            ("GET", "/files/file/x"),
            ("POST", "/files/file/local/x"),
            ("POST", "/files/rename/x"),
        ):
            assert client.request(method, path).status_code == 401


def test_files_of_urls(make_plane: Any):
    """
    A file is fetched from a URL, as far as the server may reach it: redirects do not lead
    elsewhere.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers["Host"]
            targets = {"/again": f"http://{host}/file", "/inside": "http://127.0.0.1:1/x"}
            self.send_response(302 if self.path in targets else 200)
            self.send_header("Location", targets.get(self.path, ""))
            self.end_headers()
            self.wfile.write(b"fetched")

        def log_message(self, *_: Any) -> None:
            pass

    plane = make_plane(webhook_networks=("127.0.0.2/32",))
    server = ThreadingHTTPServer(("127.0.0.2", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    base = f"http://127.0.0.2:{server.server_port}"
    try:
        with plane.client() as client:

            def fetch(url: str) -> Any:
                return client.post("/files/file/url//data/f", json={"url": url})

            assert fetch(f"{base}/again").status_code == 200
            assert client.get("/files/file/f").content == b"fetched"
            for url in (f"{base}/inside", "http://127.0.0.1:9/", "file:///etc/passwd", "http:"):
                refused = fetch(url)
                assert refused.status_code == 422, url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_fetches_are_bounded(make_plane: Any):
    """So many files are fetched for an account at once, and a fetch ends with its client."""
    begun, ends = threading.Semaphore(0), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/slow":
                begun.release()
                ends.wait(60)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"fetched")

        def log_message(self, *_: Any) -> None:
            pass

    plane = make_plane(webhook_networks=("127.0.0.2/32",))
    server = ThreadingHTTPServer(("127.0.0.2", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    base, path = f"http://127.0.0.2:{server.server_port}", "/files/file/url//data/f"
    host, port = plane.address.rsplit(":", 1)
    body = json.dumps({"url": f"{base}/slow"})
    headers = {"Authorization": f"Key {plane.key}", "Content-Type": "application/json"}
    waiting = [http.client.HTTPConnection(host, int(port)) for _ in range(8)]
    try:
        for each in waiting:
            each.request("POST", path, body, headers)
        for _ in waiting:
            assert begun.acquire(timeout=60)
        with plane.client() as client:
            refused = client.post(path, json={"url": f"{base}/fast"})
            assert refused.status_code == 429
            assert "are fetched" in refused.json()["detail"]
            for each in waiting:
                each.close()
            while (told := client.post(path, json={"url": f"{base}/fast"})).status_code == 429:
                threading.Event().wait(0.05)
            assert told.status_code == 200
    finally:
        ends.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_directories_of_archives_are_counted(make_plane: Any):
    """An archive has no more directories than an account has files."""
    from fal_server.limits import Limits

    plane = make_plane(limits=Limits(most_files=20))
    with plane.client() as client:
        few, many = (zipped(**{f"{n}/": "" for n in range(count)}) for count in (20, 21))
        assert upload(client, "few", few, unzip="true").status_code == 200
        assert upload(client, "many", many, unzip="true").status_code == TooLarge.http


def test_archive_that_unpacks_to_much_more(client: Any):
    """
    Of an archive whose files are a thousand times larger than itself nothing is unpacked, and
    its sender is told why.
    """
    bomb = zipped(**{"bomb/fine": "fine", "bomb/zeros": "0" * (20 << 20)})
    refused = upload(client, "bombed", bomb, unzip="true")
    assert refused.status_code == TooLarge.http
    assert "20,971,524 bytes" in refused.json()["detail"]
    assert "100 times" in refused.json()["detail"]
    assert listed(client, "bombed") == []


def test_room(make_plane: Any):
    """
    What an account puts there is limited together with what its applications have written
    there; what it removes makes room.
    """
    from fal_server.limits import Limits

    plane = make_plane(limits=Limits(largest_storage=300_000))
    with plane.client() as client:
        assert upload(client, "first", b"x" * 200_000).status_code == 200
        refused = upload(client, "second", b"x" * 200_000)
        assert refused.status_code == TooLarge.http
        assert "Remove files" in refused.json()["detail"]
        bomb = zipped(**{f"{number}": "0" * 100_000 for number in range(5)})
        assert upload(client, "bomb", bomb, unzip="true").status_code == TooLarge.http
        assert listed(client, "/data") == ["/data/first"]
