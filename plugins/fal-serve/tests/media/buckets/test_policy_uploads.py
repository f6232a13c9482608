"""Uploads by a policy: the files of a response are put into the bucket of who has asked for it."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fal_serve import App, endpoint, realtime
from fal_serve.answering.requests import RequestContext
from fal_serve.media.buckets.policy_uploads import (
    UploadPolicyError,
    get_upload_policy,
    save_with_policy,
)
from fal_serve.media.errors import FileUploadException
from fal_serve.media.files import File
from fal_serve.policies.uploads import HEADER, HOSTS_VARIABLE, UploadPolicyInputError


class Writer(App, kind="current"):
    """Makes files in each way that there is."""

    @endpoint("/text")
    def text(self, name: str | None = None, repository: Any = "fal_v3") -> File:
        return File.from_bytes(b"words", "text/plain", name, repository=repository)

    @endpoint("/paths")
    def paths(self, multipart: bool) -> File:
        Path("made.bin").write_bytes(bytes(3 << 20))
        return File.from_path("made.bin", multipart=multipart)

    @endpoint("/later")
    def later(self) -> File:
        pending = File.reserve("text/plain", "later.txt")
        return pending.complete(b"later")

    @realtime("/messages")
    def messages(self, input: dict[str, Any]) -> dict[str, Any]:
        return input


@pytest.fixture(scope="module")
def url(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the service."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOSTS_VARIABLE, s3.partition("//")[2])
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.chdir(tmp_path_factory.mktemp("made"))
        info = Writer.spawn()
        info.wait(startup_timeout=120)
        yield info.url
        info.cancel()


def open_client(address: str) -> Any:
    """Return a client of the store."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id="testing",
        aws_secret_access_key="hidden",
        region_name="us-east-1",
    )


def make_policy(address: str, bucket: str = "files", **fields: str) -> dict[str, Any]:
    """Return a policy as callers make it."""
    made: dict[str, Any] = open_client(address).generate_presigned_post(
        bucket, "out/${filename}", Fields=dict(fields)
    )
    return made


def ask(
    url: str, policy: object, content: object = None, **headers: str
) -> tuple[int, Any, Any]:
    """Send a request with a policy, and return the status, the body and the headers."""
    text = policy if isinstance(policy, str) else json.dumps(policy)
    sent = {HEADER: text, "Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, json.dumps(content).encode(), sent, method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read()), error.headers


def read(url: str) -> tuple[bytes, str]:
    """Return what is at *url*, and its type, as the owner of the bucket sees it."""
    parts = urllib.parse.urlsplit(url)
    key = urllib.parse.unquote(parts.path.removeprefix("/files/"))
    found = open_client(f"http://{parts.netloc}").get_object(Bucket="files", Key=key)
    return found["Body"].read(), found["ContentType"]


def test_files_are_in_the_bucket_of_the_caller(s3: str, url: str):
    """
    Whichever way a file is made, it is in the bucket when the response is there, each under a
    name of its own; a redirection of the bucket is not followed.
    """
    policy = make_policy(s3, success_action_redirect="http://127.0.0.1:1/elsewhere")
    seen = set()
    for name in ("a b/c ü.txt", "a b/c ü.txt", None):
        path = "/text" if name is None else "/text?name=" + urllib.parse.quote(name)
        status, file, _ = ask(url + path, policy)
        assert status == 200, file
        assert file["url"].startswith(f"{s3}/files/out/")
        assert read(file["url"]) == (b"words", "text/plain")
        seen.add(file["url"])
    assert len(seen) == 3
    for multipart in ("true", "false"):
        status, file, _ = ask(f"{url}/paths?multipart={multipart}", policy)
        assert (status, len(read(file["url"])[0])) == (200, 3 << 20)
        assert file["url"].endswith("-made.bin")
    status, file, _ = ask(url + "/later", policy)
    assert (status, read(file["url"])) == (200, (b"later", "text/plain"))


def test_policy_that_is_not_followed(s3: str, url: str):
    """
    A policy that is wrong is told before the handler runs; one that does not fit a file, or
    whose bucket takes none, as the file is made; a websocket with one is refused. No file
    is put elsewhere instead.
    """
    status, told, headers = ask(url + "/text", "{")
    assert (status, headers["x-fal-billable-units"]) == (422, "0")
    assert "is wrong: it has to be a JSON object" in told["detail"]
    status, told, _ = ask(url + "/text", make_policy("https://attacker.example"))
    assert (status, HOSTS_VARIABLE in told["detail"]) == (422, True)
    other = make_policy(s3, **{"Content-Type": "image/png"})
    status, told, _ = ask(url + "/text", other)
    assert status == 422
    assert "has files of type 'image/png', and this one is 'text/plain'" in told["detail"]
    status, told, _ = ask(url + "/text?repository=in_memory", make_policy(s3))
    assert (status, "puts this file into in_memory" in told["detail"]) == (422, True)
    status, told, _ = ask(url + "/text", make_policy(s3, bucket="nothing"))
    assert (status, "could not be uploaded" in told["detail"]) == (424, True)
    for name in (HEADER, HEADER.title()):
        with pytest.raises(InvalidStatus) as caught:
            connect(
                url.replace("http", "ws") + "/messages",
                additional_headers={name: json.dumps(make_policy(s3))},
                proxy=None,
            )
        assert caught.value.response.status_code == 422


def test_policy_of_a_request(s3: str, monkeypatch: pytest.MonkeyPatch):
    """
    A policy is found in a request of FastAPI and in the current one, and is used by itself
    too; an error of its bucket is one of uploads.
    """
    monkeypatch.setenv(HOSTS_VARIABLE, s3.partition("//")[2])
    assert get_upload_policy() is None
    text = json.dumps(make_policy(s3))
    scope: dict[str, Any] = {"type": "http", "headers": [(HEADER.encode(), text.encode())]}
    policy = get_upload_policy(Request(scope))
    assert policy is not None
    assert get_upload_policy(Request({"type": "http", "headers": []})) is None
    assert get_upload_policy(RequestContext(None, None, None, {}, policy)) is policy
    there = save_with_policy(policy, "a", b"1", "text/plain", name="named")
    assert there == f"{s3}/files/out/named"
    assert read(there)[0] == b"1"
    assert File.from_bytes(b"2", request=Request(scope)).url.startswith(f"{s3}/files/out/")
    for name, kind in (("\ud800", "text/plain"), ("a", "text/\r\nplain")):
        with pytest.raises(UploadPolicyInputError, match="cannot be sent"):
            save_with_policy(policy, name, b"1", kind)
    gone = get_upload_policy(
        Request(
            {**scope, "headers": [(HEADER.encode(), text.replace("files", "none").encode())]}
        )
    )
    assert gone is not None
    with pytest.raises(FileUploadException) as caught:
        save_with_policy(gone, "a", b"1", "text/plain")
    assert isinstance(caught.value, UploadPolicyError)
    assert caught.value.status_code == 424
