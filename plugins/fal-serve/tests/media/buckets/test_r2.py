"""Buckets of R2: files are sent to a store that speaks S3, and read by anybody with their URLs."""

from __future__ import annotations

import json
import pickle
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from fal_serve.media.buckets.r2 import ACCOUNT_VARIABLE, R2Repository
from fal_serve.media.errors import FileUploadException
from fal_serve.media.files import File
from fal_serve.media.repositories import FileData


def read(url: str) -> tuple[bytes, str]:
    """Return what is at *url*, and its type."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as answer:
        return answer.read(), answer.headers["Content-Type"]


def make_bucket(account: str, name: str) -> None:
    """Make a bucket in the store of *account*."""
    url = f"{json.loads(account)['ENDPOINT_URL']}/{name}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(urllib.request.Request(url, method="PUT"), timeout=60).close()


def test_file_is_kept_in_a_bucket(
    r2_account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A file is sent to the bucket, whichever way it comes, and its URL is signed."""
    bucket = R2Repository("files", 60, r2_account, "out/here")
    file = File.from_bytes(b"words", "text/plain", "a b.txt", repository=bucket)
    assert read(file.url) == (b"words", "text/plain")
    parts = urllib.parse.urlsplit(file.url)
    assert parts.path.startswith("/files/out/here/")
    assert parts.path.endswith("_a%20b.txt")
    assert urllib.parse.parse_qs(parts.query)["X-Amz-Expires"] == ["60"]
    (tmp_path / "large").write_bytes(bytes(9 << 20))
    for multipart, held in ((None, 9 << 20), (True, None)):
        made = File.from_path(tmp_path / "large", repository=bucket, multipart=multipart)
        assert len(read(made.url)[0]) == made.file_size == 9 << 20
        assert (made.file_data and len(made.file_data)) == held
    assert {each.key.partition("_")[2] for each in bucket.bucket.objects.all()} == {
        "a b.txt",
        "large",
    }
    # By its name, it has the account that the variable has.
    monkeypatch.setenv(ACCOUNT_VARIABLE, r2_account)
    with pytest.raises(FileUploadException, match="'fal_file_storage' does not take"):
        File.from_bytes(b"1", repository="r2", fallback_repository=None)
    make_bucket(r2_account, "fal_file_storage")
    assert read(File.from_bytes(b"1", repository="r2").url)[0] == b"1"


def test_url_before_the_content(r2_account: str):
    """The URL of a file that is sent later leads to it from then on."""
    bucket = R2Repository("files", r2_account_json=r2_account)
    pending = File.reserve("text/plain", "later.txt", repository=bucket)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(pending.url)
    assert pending.complete(b"words").url == pending.url
    assert read(pending.url) == (b"words", "text/plain")


def test_secrets_do_not_travel_in_texts(r2_account: str):
    """A repository travels to where it is used, and does not show its account."""
    bucket = pickle.loads(pickle.dumps(R2Repository("files", r2_account_json=r2_account)))
    assert read(bucket.save(FileData(b"1")))[0] == b"1"
    assert "hidden" not in repr(bucket)
    hosted = json.dumps({**json.loads(r2_account), "ENDPOINT_URL": ""})
    url = R2Repository("files", r2_account_json=hosted).url_of("a")
    assert url.startswith("https://a.r2.cloudflarestorage.com/files/a?")


def test_account_is_missing(monkeypatch: pytest.MonkeyPatch):
    """The error says which variable is not set, or what it lacks, and shows nothing of it."""
    pytest.importorskip("boto3")
    monkeypatch.delenv(ACCOUNT_VARIABLE, raising=False)
    with pytest.raises(FileUploadException, match="variable R2_CREDS_JSON is not set"):
        File.from_bytes(b"1", repository="r2")
    for wrong in ("{", "[]", '{"ACCOUNT_ID": 1}', '{"ACCESS_KEY_ID": "hidden"}'):
        monkeypatch.setenv(ACCOUNT_VARIABLE, wrong)
        with pytest.raises(FileUploadException, match="'SECRET_ACCESS_KEY'") as caught:
            R2Repository()
        assert "hidden" not in str(caught.value)
        with pytest.raises(FileUploadException, match="The account is not a JSON object"):
            R2Repository(r2_account_json=wrong)


def test_library_is_missing(monkeypatch: pytest.MonkeyPatch):
    """Without the library, the error names the package to add."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    account = {"ACCOUNT_ID": "b", "ACCESS_KEY_ID": "c", "SECRET_ACCESS_KEY": "d"}
    with pytest.raises(FileUploadException, match="Add 'boto3' to the requirements"):
        R2Repository(r2_account_json=json.dumps(account))
