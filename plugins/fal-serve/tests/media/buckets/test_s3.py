"""Buckets of Amazon S3, at the address that boto3's variables say."""

from __future__ import annotations

import sys
import urllib.request

import pytest

from fal_serve.media.buckets.s3 import S3Repository
from fal_serve.media.errors import FileUploadException
from fal_serve.media.files import File


def test_file_is_kept_in_a_bucket(s3: str, monkeypatch: pytest.MonkeyPatch):
    """
    A file is sent to the bucket, into the folder that is asked for, with the key that the
    variables have.
    """
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    bucket = S3Repository("files", 60)
    for folder, begins in (("out", f"{s3}/files/out/"), (None, f"{s3}/files/")):
        file = File.from_bytes(
            b"words", "text/plain", "a.txt", repository=bucket, save_kwargs={"key": folder}
        )
        assert file.url.startswith(begins)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(file.url, timeout=60) as answer:
            assert answer.read() == b"words"
    assert len([*bucket.bucket.objects.filter(Prefix="out/")]) == 1
    assert "hidden" not in repr(S3Repository("files", 60, "testing", "hidden"))
    assert bucket.storage_client.meta.endpoint_url == s3


def test_key_is_missing(monkeypatch: pytest.MonkeyPatch):
    """The error says which variable is not set, or which package is not installed."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
        with pytest.raises(FileUploadException, match=f"variable {name} is not set"):
            S3Repository()
        monkeypatch.setenv(name, "one of this test")
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(FileUploadException, match="Add 'boto3' to the requirements"):
        S3Repository()
