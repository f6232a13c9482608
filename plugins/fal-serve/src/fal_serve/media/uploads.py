"""Uploads: files that a runner gives to the server that runs it, which keeps and serves them."""

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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fal_serve.answering.requests import CDN_TOKEN, REQUEST_ID, current
from fal_serve.media.errors import FileUploadException

_SECONDS = 30.0
_UPLOAD_SECONDS = 300.0
_ATTEMPTS = 5
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)

Lifecycle = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class FileServer:
    """The server that runs this process."""

    address: str
    key: str = field(repr=False)

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
        begun = self.begin(
            name=name,
            content_type=content_type,
            lifecycle=lifecycle,
            headers={"X-Fal-Core-Digest": _digest_of(content)},
        )
        begun.send(content)
        return begun.url

    def begin(
        self,
        *,
        name: str,
        content_type: str,
        lifecycle: Lifecycle | None,
        headers: Mapping[str, str] | None = None,
        request: Any = None,
    ) -> BegunUpload:
        """
        Return the upload of a file whose content is sent later.

        Arguments:
            headers: More headers than those of the upload and of the request.

            request: The request that the file is made for. None: the one that is answered.

        Raises:
            FileUploadException: The server does not take it.
        """
        asked = json.dumps({"file_name": name, "content_type": content_type}).encode()
        sent = {
            **self.headers(request),
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        if lifecycle:
            for each in ("X-Fal-Object-Lifecycle", "X-Fal-Object-Lifecycle-Preference"):
                sent[each] = json.dumps(dict(lifecycle))
        sent.update(headers or {})
        url = f"https://{self.address}/storage/upload/initiate?storage_type=fal-cdn-v3"
        asking = urllib.request.Request(url, asked, sent, method="POST")
        answer = send_until_taken(lambda _: asking, name, seconds=_SECONDS)
        with contextlib.suppress(ValueError, TypeError, AttributeError, KeyError):
            told = json.loads(answer)
            return BegunUpload(
                url=str(told["file_url"]),
                to=str(told["upload_url"]),
                name=name,
                content_type=content_type,
            )
        raise FileUploadException(f"File {name!r}: the server's answer is not known.")

    def headers(self, request: Any = None) -> dict[str, str]:
        """
        Return the headers by which the server knows who asks, and which request it is for.

        Arguments:
            request: That request. None: the one that is answered.
        """
        return {"Authorization": f"Key {self.key}", **_of_request(request)}


@dataclass(frozen=True, kw_only=True)
class BegunUpload:
    """
    An upload whose content was not sent yet.

    Attributes:
        url: Where the file will be read.

        to: Where its content is sent. Any client that knows it can send the content.
    """

    url: str
    to: str = field(repr=False)
    name: str
    content_type: str

    def send(self, content: bytes | Path) -> None:
        """
        Send the content.

        Raises:
            FileUploadException: The server does not take it.
        """
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        headers = {"Content-Type": self.content_type, "Content-Length": str(size)}

        def make(stack: contextlib.ExitStack) -> urllib.request.Request:
            body: Any = content
            if isinstance(content, Path):
                body = stack.enter_context(content.open("rb"))
            return urllib.request.Request(self.to, body, headers, method="PUT")

        send_until_taken(make, self.name)


def send_until_taken(
    make: Callable[[contextlib.ExitStack], urllib.request.Request],
    name: str,
    *,
    seconds: float = _UPLOAD_SECONDS,
    ask: Callable[..., Any] = urllib.request.urlopen,
) -> bytes:
    """
    Send a request, several times if need be, and return the body of its answer.

    Arguments:
        make: Returns the request, anew for each time. What it opens is closed after it.

        name: That of the file, for errors.

        seconds: For each step of sending and answering.

        ask: Sends the request.

    Raises:
        FileUploadException: It is refused, or nobody is reached.
    """
    for attempt in range(_ATTEMPTS):
        with contextlib.ExitStack() as stack:
            answer = _send(make(stack), name, attempt, seconds, ask)
        if answer is not None:
            return answer
    raise AssertionError("the last attempt raises")


def find_server() -> FileServer | None:
    """Return the server that runs this process; None for a process that no server runs."""
    if not os.environ.get("IS_ISOLATE_AGENT"):
        return None
    host = os.environ.get("FAL_REST_HOST") or "rest.fal.ai"
    key = os.environ.get("FAL_KEY")
    if not key:
        pair = (os.environ.get("FAL_KEY_ID"), os.environ.get("FAL_KEY_SECRET"))
        key = ":".join(each or "" for each in pair) if all(pair) else None
    return None if key is None else FileServer(address=host, key=key)


def _of_request(request: Any) -> dict[str, str]:
    """Return the headers that name the request that a file is made for."""
    made_for = current.get() if request is None else request
    if made_for is None:
        return {}
    headers = made_for.headers
    id = getattr(made_for, "request_id", None) or headers.get(REQUEST_ID.decode())
    found = {"X-Fal-Request-ID": id or "", "X-Fal-CDN-Token": headers.get(CDN_TOKEN, "")}
    return {key: value for key, value in found.items() if value and value.isascii()}


def _send(
    request: urllib.request.Request,
    name: str,
    attempt: int,
    seconds: float,
    ask: Callable[..., Any],
) -> bytes | None:
    """Send *request*, and return the body of the answer: None if it is to be sent again."""
    try:
        with ask(request, timeout=seconds) as response:
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
