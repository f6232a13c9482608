"""
Uploads: files that a runner gives to the server that runs it, which keeps and serves them.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fal_serve.answering.requests import current
from fal_serve.media.errors import FileUploadException

_SECONDS = 30.0
_UPLOAD_SECONDS = 300.0
_ATTEMPTS = 5
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)

Lifecycle = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class FileServer:
    """
    The server that runs this process.
    """

    address: str
    key: str

    def upload(
        self,
        content: bytes | Path,
        *,
        name: str,
        content_type: str,
        lifecycle: Lifecycle | None,
    ) -> str:
        """
        Send a file, and return the URL that it is read at.

        Raises:
            FileUploadException: The server does not take it.
        """
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        told = self._initiate(content, name, content_type, lifecycle)
        headers = {"Content-Type": content_type, "Content-Length": str(size)}
        for attempt in _attempts():
            with contextlib.ExitStack() as stack:
                body: Any = content
                if isinstance(content, Path):
                    body = stack.enter_context(content.open("rb"))
                request = urllib.request.Request(
                    told["upload_url"], body, headers, method="PUT"
                )
                if _send(request, name, attempt, _UPLOAD_SECONDS) is not None:
                    return str(told["file_url"])
        raise AssertionError("the last attempt raises")

    def _initiate(
        self,
        content: bytes | Path,
        name: str,
        content_type: str,
        lifecycle: Lifecycle | None,
    ) -> dict[str, Any]:
        asked = json.dumps({"file_name": name, "content_type": content_type}).encode()
        headers = {
            "Authorization": f"Key {self.key}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "X-Fal-Core-Digest": _digest_of(content),
            **_of_request(),
        }
        if lifecycle:
            for each in ("X-Fal-Object-Lifecycle", "X-Fal-Object-Lifecycle-Preference"):
                headers[each] = json.dumps(dict(lifecycle))
        url = f"https://{self.address}/storage/upload/initiate?storage_type=fal-cdn-v3"
        request = urllib.request.Request(url, asked, headers, method="POST")
        for attempt in _attempts():
            answer = _send(request, name, attempt, _SECONDS)
            if answer is not None:
                with contextlib.suppress(ValueError, TypeError):
                    told: dict[str, Any] = json.loads(answer)
                    if {"file_url", "upload_url"} <= told.keys():
                        return told
                raise FileUploadException(f"File {name!r}: the server's answer is not known.")
        raise AssertionError("the last attempt raises")


def find_server() -> FileServer | None:
    """
    Return the server that runs this process; None for a process that no server runs.
    """
    if not os.environ.get("IS_ISOLATE_AGENT"):
        return None
    host = os.environ.get("FAL_REST_HOST") or "rest.fal.ai"
    key = os.environ.get("FAL_KEY")
    if not key:
        pair = (os.environ.get("FAL_KEY_ID"), os.environ.get("FAL_KEY_SECRET"))
        key = ":".join(each or "" for each in pair) if all(pair) else None
    return None if key is None else FileServer(address=host, key=key)


def _of_request() -> dict[str, str]:
    """
    Return the headers that name the request that a file is made for.
    """
    request = current.get()
    if request is None:
        return {}
    found = {"X-Fal-Request-ID": request.request_id or ""}
    found["X-Fal-CDN-Token"] = request.headers.get("x-fal-cdn-token", "")
    return {key: value for key, value in found.items() if value and value.isascii()}


def _attempts() -> range:
    return range(_ATTEMPTS)


def _send(
    request: urllib.request.Request, name: str, attempt: int, seconds: float
) -> bytes | None:
    """
    Send *request*, and return the body of the answer: None if it is to be sent again.
    """
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:
            return bytes(response.read(1 << 20))
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(4096).decode(errors="replace").strip()
        refused = f"the server answered with {error.code}: {said or error.reason}"
        again = error.code in _AGAIN
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        refused, again = f"the server cannot be reached: {reason}", True
    if not again or attempt == _ATTEMPTS - 1:
        raise FileUploadException(f"File {name!r} could not be uploaded: {refused}")
    time.sleep(min(0.1 * 4**attempt, 10.0) * random.uniform(0.5, 1.5))
    return None


def _digest_of(content: bytes | Path) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    counted = hashlib.sha256()
    with content.open("rb") as file:
        while chunk := file.read(1 << 20):
            counted.update(chunk)
    return counted.hexdigest()
