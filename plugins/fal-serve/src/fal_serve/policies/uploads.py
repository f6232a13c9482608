"""
Upload policies: a caller has the files of a response put into a bucket of theirs.

The header has what a store of S3 signs for uploads by forms, which is also what boto3's
``generate_presigned_post`` returns: ``{"url": ..., "fields": {"key": ..., ...}}``. The
sender is not trusted: the URL's host has to be one of S3, or of those the operator names.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field

from fal_serve.exceptions import AppException

HEADER = "x-app-fal-upload-policy"

#: Other hosts than those of S3, with or without their ports.
HOSTS_VARIABLE = "FAL_SERVE_UPLOAD_HOSTS"

#: What stands in the key for the name of each file.
PLACEHOLDER = "${filename}"

_LONGEST = 32 << 10
_LONGEST_KEY = 1024

#: A bucket, in the name of the host or behind it; nothing that could mean something else.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9][a-z0-9.-]*)(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/(?P<bucket>[a-z0-9][a-z0-9._-]*))?/?",
    re.IGNORECASE,
)
_S3 = re.compile(
    r"(?P<bucket>[a-z0-9][a-z0-9.-]*\.)?(?P<endpoint>s3(?:[.-][a-z0-9-]+){0,4}"
    r"\.amazonaws\.com(?:\.cn)?)"
)
_FIELD = re.compile(r"[A-Za-z0-9_-]{1,128}")


class UploadPolicyInputError(AppException):
    """An upload policy is wrong, or does not fit a file. It is answered with 422."""

    def __init__(self, message: str, status_code: int = 422) -> None:
        super().__init__(message, status_code)


@dataclass(frozen=True)
class UploadPolicy:
    """
    Where the files of a response are put.

    Attributes:
        url: The URL of the bucket.

        fields: The fields of the form, which have a signature.
    """

    url: str
    fields: dict[str, str] = field(repr=False)


def parse_upload_policy(text: str) -> UploadPolicy:
    """
    Return the policy that the header has.

    Raises:
        UploadPolicyInputError: It is wrong.
    """
    try:
        told = json.loads(text) if len(text) <= _LONGEST else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise wrong(f"it has to be a JSON object of at most {_LONGEST} characters")
    url, fields = told.get("url"), told.get("fields")
    if not isinstance(url, str) or not isinstance(fields, dict):
        raise wrong("it has to have 'url', a text, and 'fields', an object")
    _check_url(url)
    _check_fields(fields)
    return UploadPolicy(url.rstrip("/"), fields)


def wrong(reason: str) -> UploadPolicyInputError:
    """Return the error of a policy."""
    return UploadPolicyInputError(f"The header {HEADER} is wrong: {reason}.")


def _check_url(url: str) -> None:
    found = _URL.fullmatch(url) if len(url) <= 2048 else None
    if found is None:
        raise wrong("'url' has to be that of a bucket, without a query")
    host, port = found["host"].lower(), found["port"]
    named = {each.strip().lower() for each in os.environ.get(HOSTS_VARIABLE, "").split(",")}
    if named & {host, f"{host}:{port}"}:
        return
    store = _S3.fullmatch(host)
    # Names below vpce lead into private networks, which anybody may choose.
    if store is None or "vpce" in re.split(r"[.-]", store["endpoint"]):
        raise wrong(
            f"files are sent to hosts of S3, below amazonaws.com, and not to {host!r}. If it "
            f"is meant, the operator of the application adds it to {HOSTS_VARIABLE}"
        )
    if found["scheme"].lower() != "https" or port not in (None, "443"):
        raise wrong("'url' has to begin with https, and has no port")
    if bool(store["bucket"]) == bool(found["bucket"]):
        raise wrong("'url' has to name one bucket, in the host or behind it")


def _check_fields(fields: dict[str, object]) -> None:
    seen = set[str]()
    for name, value in fields.items():
        if not _FIELD.fullmatch(name):
            raise wrong(f"the name of field {name!r:.80} has letters, digits and dashes alone")
        if name.lower() in seen:
            raise wrong(f"field {name!r} is there twice")
        seen.add(name.lower())
        if not isinstance(value, str) or not is_sendable(value):
            raise wrong(f"field {name!r} has to be a text")
    key = fields.get("key")
    if not isinstance(key, str) or PLACEHOLDER not in key or len(key) > _LONGEST_KEY:
        raise wrong(f"'key' has to be a text with {PLACEHOLDER}, of {_LONGEST_KEY} at most")
    # A URL would name another object.
    if key.startswith("/") or {".", ".."} & set(key.split("/")):
        raise wrong("'key' has to be a path without '.' and '..', and begins with no '/'")
    if "file" in seen:
        raise wrong("'file' is the content, and no field")


def is_sendable(text: str) -> bool:
    """Tell whether *text* can stand in a form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
