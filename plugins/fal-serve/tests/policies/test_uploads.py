"""Upload policies: which of them are followed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fal_serve.policies.uploads import (
    HOSTS_VARIABLE,
    UploadPolicyInputError,
    parse_upload_policy,
)

KEY = "out/${filename}"


def parse(url: Any, fields: Any = None) -> str:
    """Return the URL of a policy."""
    given = {"key": KEY} if fields is None else fields
    return parse_upload_policy(json.dumps({"url": url, "fields": given})).url


@pytest.mark.parametrize(
    "url",
    [
        "https://mine.s3.amazonaws.com/",
        "https://mine.s3.amazonaws.com",
        "https://mine.s3.eu-central-1.amazonaws.com/",
        "https://mine.s3-accelerate.amazonaws.com/",
        "https://mine.s3.dualstack.eu-central-1.amazonaws.com:443/",
        "https://s3.eu-central-1.amazonaws.com/with.dots/",
        "https://s3.cn-north-1.amazonaws.com.cn/mine",
        "https://vpce-of-mine.s3.amazonaws.com/",
    ],
)
def test_bucket_of_s3(url: str):
    """A bucket of S3 is named in the host, or behind it."""
    assert parse(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://mine.s3.amazonaws.com/",
        "https://mine.s3.amazonaws.com:8443/",
        "https://s3.amazonaws.com/",
        "https://mine.s3.amazonaws.com/more",
        "https://s3.amazonaws.com/mine/more",
        "https://mine.s3.amazonaws.com/?acl",
        "https://mine.s3.amazonaws.com/#",
        "https://user:secret@mine.s3.amazonaws.com/",
        "https://mine.s3.amazonaws.com@127.0.0.1/",
        "https://mine.s3.amazonaws.com.attacker.example/",
        "https://attacker.example/s3.amazonaws.com",
        "https://amazonaws.com/mine",
        "https://ec2.amazonaws.com/mine",
        "https://vpce-1.s3.eu-central-1.vpce.amazonaws.com/mine",
        "https://mine.vpce-1.s3.eu-central-1.vpce.amazonaws.com/",
        "https://s3.amazonaws.com/../mine",
        "https://s3.amazonaws.com/%6dine",
        "https://s3.amazonaws.com//mine",
        "https://mine.s3.amazonaws.com\t/",
        " https://mine.s3.amazonaws.com/",
        "https://mine.s3.amazonaws.com\\@127.0.0.1/",
        "https://\uff4dine.s3.amazonaws.com/",
        "https://127.0.0.1/mine",
        "https://[::1]/mine",
        "https://169.254.169.254/mine",
        "file:///etc/passwd",
        "https://s3.amazonaws.com/" + "a" * 2048,
        "",
        7,
        None,
    ],
)
def test_another_place(url: Any):
    """No other URL is one that files are sent to."""
    with pytest.raises(
        UploadPolicyInputError, match="x-app-fal-upload-policy is wrong"
    ) as told:
        parse(url)
    assert told.value.status_code == 422


def test_hosts_of_the_operator(monkeypatch: pytest.MonkeyPatch):
    """The operator of an application names other hosts, with or without their ports."""
    monkeypatch.setenv(HOSTS_VARIABLE, "minio.example:9000, Localhost")
    assert parse("http://minio.example:9000/mine/") == "http://minio.example:9000/mine"
    assert parse("https://localhost:1/mine")
    for url in ("http://minio.example/mine", "http://minio.example:90001/mine"):
        with pytest.raises(UploadPolicyInputError, match=HOSTS_VARIABLE):
            parse(url)
    monkeypatch.delenv(HOSTS_VARIABLE)
    with pytest.raises(UploadPolicyInputError, match=HOSTS_VARIABLE):
        parse("http://minio.example:9000/mine/")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"key": "out"},
        {"key": 7},
        {"key": "/${filename}"},
        {"key": "../${filename}"},
        {"key": "a/./${filename}"},
        {"key": "a" * 1024 + "${filename}"},
        {"key": KEY, "Key": "b"},
        {"key": KEY, "Content-Type": "a", "content-type": "a"},
        {"key": KEY, "policy": None},
        {"key": KEY, "policy": ["a"]},
        {"key": KEY, "policy": "\ud800"},
        {"key": KEY, "policy": "\0"},
        {"key": KEY, "File": "a"},
        {"key": KEY, 'a"b': "a"},
        {"key": KEY, "a\r\nb": "a"},
        {"key": KEY, "k\u200bey": "a"},
        [],
        "a",
    ],
)
def test_fields_that_are_wrong(fields: Any):
    """A form with such fields is not sent."""
    with pytest.raises(UploadPolicyInputError, match="is wrong"):
        parse("https://mine.s3.amazonaws.com/", fields)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000, " " * 40_000 + "{}"])
def test_text_that_is_wrong(text: str):
    """What is no object of JSON, or is too long, is no policy."""
    with pytest.raises(UploadPolicyInputError, match="JSON object of at most 32768"):
        parse_upload_policy(text)


def test_signature_is_not_shown():
    """A policy does not show its fields: whoever has them can send files."""
    policy = parse_upload_policy(
        json.dumps({"url": "https://mine.s3.amazonaws.com/", "fields": {"key": KEY, "a": "b1"}})
    )
    assert "b1" not in repr(policy)
    assert policy.fields["a"] == "b1"
