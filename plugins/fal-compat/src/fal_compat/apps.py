"""
Requests to deployed applications: answered at once, streamed, or put into their queues.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fal_host_serverless.account.addresses import DEFAULT_URL
from fal_host_serverless.credentials import Credentials, find_credentials
from fal_host_serverless.wire.settings import queue_url, run_url

if TYPE_CHECKING:
    import httpx

_SECONDS = 60.0
_POLL_SECONDS = 0.2


@dataclass
class _Status:
    """
    The state of a request.
    """


@dataclass
class Queued(_Status):
    """
    The request waits; so many are before it.
    """

    position: int


@dataclass
class InProgress(_Status):
    """
    The request is being answered.
    """

    logs: list[dict[str, Any]] | None = field()


@dataclass
class Completed(_Status):
    """
    The request was answered, perhaps with an error.
    """

    logs: list[dict[str, Any]] | None = field()
    error: str | None = None
    error_type: str | None = None


@dataclass
class RequestHandle:
    """
    A request in the queue of an application.
    """

    app_id: str
    request_id: str
    _creds: Credentials = field(default_factory=find_credentials, repr=False)

    def __post_init__(self) -> None:
        # The path within the application is not part of the request's URL.
        parts = _full_id(self.app_id).split("/")
        count = 3 if parts[0] == "workflows" else 2
        self.app_id = "/".join(parts[:count])

    def status(self, *, logs: bool = False) -> _Status:
        """
        Return the state of the request.
        """
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
        """
        Cancel the request.
        """
        _check(self._send("PUT", "/cancel"))

    def iter_events(self, *, logs: bool = False) -> Iterator[_Status]:
        """
        Yield the state of the request until it was answered.
        """
        while not isinstance(status := self.status(logs=logs), Completed):
            yield status
            time.sleep(_POLL_SECONDS)

    def fetch_raw_response(self) -> httpx.Response:
        """
        Return the answer of a request that was answered, as it came.
        """
        answer = self._send("GET", "")
        if "application/json" not in answer.headers.get("content-type", ""):
            _check(answer)
        return answer

    def fetch_result(self) -> dict[str, Any]:
        """
        Return the answer of a request that was answered.
        """
        answer = self.fetch_raw_response()
        _check(answer)
        return dict(answer.json())

    def get(self) -> dict[str, Any]:
        """
        Wait for the answer, and return it.
        """
        for _ in self.iter_events():
            pass
        return self.fetch_result()

    def _send(self, method: str, rest: str, **options: Any) -> httpx.Response:
        url = f"{_url('queue')}/{self.app_id}/requests/{self.request_id}{rest}"
        return _send(method, url, self._creds, **options)


def run(app_id: str, arguments: dict[str, Any], *, path: str = "") -> dict[str, Any]:
    """
    Send a request to the queue of an application, and return the answer.
    """
    return submit(app_id, arguments, path=path).get()


def submit(app_id: str, arguments: dict[str, Any], *, path: str = "") -> RequestHandle:
    """
    Put a request into the queue of an application.
    """
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


def _full_id(app_id: str) -> str:
    return app_id if "/" in app_id else app_id.replace("-", "/", 1)


def _join(url: str, path: str) -> str:
    return f"{url}/{path.removeprefix('/')}" if path else url


def _url(kind: str) -> str:
    """
    Return the URL of the gateway for requests that are answered at once, or queued.
    """
    address = os.environ.get("FAL_GRPC_HOST") or os.environ.get("FAL_HOST") or DEFAULT_URL
    return queue_url(address) if kind == "queue" else run_url(address)


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
