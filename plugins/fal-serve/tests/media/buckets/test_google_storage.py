"""Buckets of Google: files are sent to a store that speaks its protocol, and read by their URLs."""

from __future__ import annotations

import json
import pickle
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from fal_serve.media.buckets.google_storage import ACCOUNT_VARIABLE, GoogleStorageRepository
from fal_serve.media.errors import FileUploadException
from fal_serve.media.files import File
from fal_serve.media.repositories import FileData


def read(url: str) -> tuple[bytes, str]:
    """Return what is at *url*, and its type."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as answer:
        return answer.read(), answer.headers["Content-Type"]


def test_file_is_kept_in_a_bucket(
    google_account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A file is sent to the bucket, whichever way it comes, and its URL is signed, unless the
    bucket is public.
    """
    bucket = GoogleStorageRepository("files", 2, google_account, "out/here")
    file = File.from_bytes(b"words", "text/plain", "a b.txt", repository=bucket)
    assert read(file.url) == (b"words", "text/plain")
    parts = urllib.parse.urlsplit(file.url)
    assert parts.path.startswith("/files/out/here/")
    assert parts.path.endswith("_a%20b.txt")
    assert urllib.parse.parse_qs(parts.query)["X-Goog-Expires"] == ["120"]
    (tmp_path / "large").write_bytes(bytes(9 << 20))
    for multipart, held in ((None, 9 << 20), (True, None)):
        made = File.from_path(tmp_path / "large", repository=bucket, multipart=multipart)
        assert len(read(made.url)[0]) == made.file_size == 9 << 20
        assert (made.file_data and len(made.file_data)) == held
    names = {each.name for each in bucket.storage_client.list_blobs("files")}
    assert {each.partition("_")[2] for each in names} == {"a b.txt", "large"}
    public = GoogleStorageRepository("files", None, google_account)
    assert "?" not in public.save(FileData(b"1"))
    # By its name, it has the account that the variable has.
    monkeypatch.setenv(ACCOUNT_VARIABLE, google_account)
    with pytest.raises(FileUploadException, match="'fal_file_storage' does not take"):
        File.from_bytes(b"1", repository="gcp_storage", fallback_repository=None)
    bucket.storage_client.create_bucket("fal_file_storage")
    assert read(File.from_bytes(b"1", repository="gcp_storage").url)[0] == b"1"


def test_url_before_the_content(google_account: str):
    """The URL of a file that is sent later leads to it from then on."""
    bucket = GoogleStorageRepository("files", gcp_account_json=google_account)
    pending = File.reserve("text/plain", "later.txt", repository=bucket)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(pending.url)
    assert pending.complete(b"words").url == pending.url
    assert read(pending.url) == (b"words", "text/plain")


def test_secrets_do_not_travel_in_texts(google_account: str):
    """A repository travels to where it is used, and does not show its account."""
    made = GoogleStorageRepository("files", gcp_account_json=google_account)
    bucket = pickle.loads(pickle.dumps(made))
    assert read(bucket.save(FileData(b"1")))[0] == b"1"
    assert "PRIVATE KEY" not in repr(bucket)
    with pytest.raises(FileUploadException, match="can be signed"):
        GoogleStorageRepository("files", 60 * 24 * 8, google_account).url_of("a")


def test_account_is_missing(google_account: str, monkeypatch: pytest.MonkeyPatch):
    """The error says which variable is not set, or what is wrong, and shows nothing of a key."""
    monkeypatch.delenv(ACCOUNT_VARIABLE, raising=False)
    with pytest.raises(FileUploadException, match="variable GCLOUD_SA_JSON is not set"):
        File.from_bytes(b"1", repository="gcp_storage")
    broken = json.dumps({**json.loads(google_account), "private_key": "hidden"})
    for wrong, said in (("{", "is not a JSON object"), (broken, "a value that is wrong")):
        monkeypatch.setenv(ACCOUNT_VARIABLE, wrong)
        with pytest.raises(FileUploadException, match=said) as caught:
            GoogleStorageRepository()
        assert "hidden" not in str(caught.value)


def test_library_is_missing(monkeypatch: pytest.MonkeyPatch):
    """Without the library, the error names the package to add."""
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    account = dict.fromkeys(("project_id", "client_email", "private_key", "token_uri"), "a")
    with pytest.raises(FileUploadException, match="Add 'google-cloud-storage' to the req"):
        GoogleStorageRepository(gcp_account_json=json.dumps(account))
