"""Requests to deployed applications: answered at once, streamed, or put into their queues."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fal_host_serverless.account.addresses import DEFAULT_URL
from fal_host_serverless.credentials import Credentials, find_credentials
from fal_host_serverless.wire.settings import queue_url, run_url, websocket_url

if TYPE_CHECKING:
    import httpx
    from websockets.sync.client import ClientConnection

_SECONDS = 60.0
_POLL_SECONDS = 0.2

#: The most bytes in one message of a websocket.
_MOST_IN_MESSAGE = 64 << 20


@dataclass
class _Status:
    """The state of a request."""


@dataclass
class Queued(_Status):
    """The request waits; so many are before it."""

    position: int


@dataclass
class InProgress(_Status):
    """The request is being answered."""

    logs: list[dict[str, Any]] | None = field()


@dataclass
class Completed(_Status):
    """The request was answered, perhaps with an error."""

    logs: list[dict[str, Any]] | None = field()
    error: str | None = None
    error_type: str | None = None


@dataclass
class RequestHandle:
    """A request in the queue of an application."""

    app_id: str
    request_id: str
    _creds: Credentials = field(default_factory=find_credentials, repr=False)

    def __post_init__(self) -> None:
        # The path within the application is not part of the request's URL.
        parts = _full_id(self.app_id).split("/")
        count = 3 if parts[0] == "workflows" else 2
        self.app_id = "/".join(parts[:count])

    def status(self, *, logs: bool = False) -> _Status:
        """Return the state of the request."""
        answer = self._send("GET", "/status", params={"logs": int(logs)})
        _check(answer)
        told = answer.json()
        state = told.get("status")
        if state == "IN_QUEUE":
            return Queued(position=told["queue_position"])
        if state == "IN_PROGRESS":
            return InProgress(logs=told.get("logs"))
        return Completed(
            logs=told.get("logs"), error=told.get("error"), error_type=told.get("error_type")
        )

    def cancel(self) -> None:
        """Cancel the request."""
        _check(self._send("PUT", "/cancel"))

    def iter_events(self, *, logs: bool = False) -> Iterator[_Status]:
        """Yield the state of the request until it was answered."""
        while not isinstance(status := self.status(logs=logs), Completed):
            yield status
            time.sleep(_POLL_SECONDS)

    def fetch_raw_response(self) -> httpx.Response:
        """Return the answer of a request that was answered, as it came."""
        answer = self._send("GET", "")
        if "application/json" not in answer.headers.get("content-type", ""):
            _check(answer)
        return answer

    def fetch_result(self) -> dict[str, Any]:
        """Return the answer of a request that was answered."""
        answer = self.fetch_raw_response()
        _check(answer)
        return dict(answer.json())

    def get(self) -> dict[str, Any]:
        """Wait for the answer, and return it."""
        for _ in self.iter_events():
            pass
        return self.fetch_result()

    def _send(self, method: str, rest: str, **options: Any) -> httpx.Response:
        url = f"{_url('queue')}/{self.app_id}/requests/{self.request_id}{rest}"
        return _send(method, url, self._creds, **options)


def run(app_id: str, arguments: dict[str, Any], *, path: str = "") -> dict[str, Any]:
    """Send a request to the queue of an application, and return the answer."""
    return submit(app_id, arguments, path=path).get()


def submit(app_id: str, arguments: dict[str, Any], *, path: str = "") -> RequestHandle:
    """Put a request into the queue of an application."""
    credentials = find_credentials()
    url = _join(f"{_url('queue')}/{_full_id(app_id)}", path)
    answer = _send("POST", url, credentials, json=arguments)
    _check(answer)
    return RequestHandle(app_id, answer.json()["request_id"], credentials)


def stream(app_id: str, arguments: dict[str, Any], *, path: str = "") -> Iterator[str | bytes]:
    """
    Send a request to an application, and yield the lines of its stream of events as they
    come; of another answer, its bytes.
    """
    import httpx

    url = _join(f"{_url('run')}/{_full_id(app_id)}", path)
    headers = find_credentials().headers()
    with httpx.stream("POST", url, json=arguments, headers=headers, timeout=None) as answer:
        if answer.is_error:
            answer.read()
        _check(answer)
        if answer.headers["content-type"].startswith("text/event-stream"):
            yield from (line for line in answer.iter_lines() if line)
        else:
            yield from answer.iter_bytes()


class WebSocketRequests:
    """Requests to an application over one websocket, which are answered in their order."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def run(self, arguments: dict[str, Any]) -> bytes:
        """Send a request, and return the body of its answer."""
        self.send(arguments)
        return self.recv()

    def send(self, arguments: dict[str, Any]) -> None:
        """Send a request. Others may be sent before it is answered."""
        self._connection.send(json.dumps(arguments))

    def recv(self) -> bytes:
        """Wait for the next answer, and return its body, regardless of its status."""
        parts = (part.encode() if isinstance(part, str) else part for part in self.stream())
        return b"".join(parts)

    def stream(self) -> Iterator[str | bytes]:
        """
        Yield the body of the next answer in the parts that it comes in.

        Raises:
            ValueError: Something else than an answer has come.
        """
        first = self._connection.recv()
        begun = _control(first)
        if begun is None or begun["type"] != "start":
            raise ValueError(
                f"An answer begins with a message 'start', not with {first!r:.100}."
            )
        while (end := _control(part := self._connection.recv())) is None:
            yield part
        if (end["type"], end["request_id"]) != ("end", begun["request_id"]):
            raise ValueError(f"An answer ends with its message 'end', not with {part!r:.100}.")


@contextlib.contextmanager
def ws(app_id: str, *, path: str = "") -> Iterator[WebSocketRequests]:
    """
    Open a websocket to an application, over which many requests are sent to one of its
    endpoints.
    """
    from websockets.sync.client import connect

    url = _join(f"{_url('ws')}/{_full_id(app_id)}", path)
    headers = find_credentials().headers()
    with connect(
        url, additional_headers=headers, open_timeout=_SECONDS, max_size=_MOST_IN_MESSAGE
    ) as connection:
        yield WebSocketRequests(connection)


def _control(message: str | bytes) -> dict[str, Any] | None:
    """Return the fields of a message that begins or ends an answer; None for a part of one."""
    if not isinstance(message, str):
        return None
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError):
        return None
    is_control = isinstance(fields, dict) and {"type", "request_id"} <= fields.keys()
    return fields if is_control else None


def _full_id(app_id: str) -> str:
    return app_id if "/" in app_id else app_id.replace("-", "/", 1)


def _join(url: str, path: str) -> str:
    return f"{url}/{path.removeprefix('/')}" if path else url


def _url(kind: str) -> str:
    """
    Return the URL of the gateway for requests that are answered at once, queued, or sent
    over a websocket.
    """
    address = os.environ.get("FAL_GRPC_HOST") or os.environ.get("FAL_HOST") or DEFAULT_URL
    urls = {"queue": queue_url, "run": run_url, "ws": websocket_url}
    return urls[kind](address)


def _send(method: str, url: str, credentials: Credentials, **options: Any) -> httpx.Response:
    import httpx

    return httpx.request(
        method, url, headers=credentials.headers(), timeout=_SECONDS, **options
    )


def _check(answer: httpx.Response) -> None:
    import httpx

    if answer.is_error:
        raise httpx.HTTPStatusError(
            f"{answer.request.url} answered with {answer.status_code}: {answer.text[:400]}",
            request=answer.request,
            response=answer,
        )
