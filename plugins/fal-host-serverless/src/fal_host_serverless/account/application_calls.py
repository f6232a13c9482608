"""Requests to deployed applications: answered at once, as they come, or by way of the queue."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from fal_core.errors import FalServerlessError
from fal_host_serverless.account.queued_requests import find_application
from fal_host_serverless.account.told_facts import find_nickname
from fal_host_serverless.wire import settings
from fal_host_serverless.wire.rest import RestClient, error_of
from fal_host_serverless.wire.services import Service

if TYPE_CHECKING:
    import httpx

#: Seconds between two looks at a queued request: the first, and the most.
_FIRST, _MOST = 0.1, 1.0


@attrs.frozen
class ApplicationCall:
    """
    A request to an application.

    Arguments:
        app: The name of the application and the path in it, as in ``reader/summarise``, with
            a query if there is one. The nickname of the account may stand before it.

        body: What is sent, as JSON. None for nothing.

        owner: The owner of the application. None for the account that sends it.

        environment_name: The stage of the application.
    """

    app: str
    body: bytes | None = None
    method: str = attrs.field(default="POST", kw_only=True)
    owner: str | None = attrs.field(default=None, kw_only=True)
    environment_name: str | None = attrs.field(default=None, kw_only=True)

    def send(self, service: Service) -> httpx.Response:
        """
        Send the request, and wait for the response as long as it takes.

        Raises:
            FalServerlessError: The service cannot be reached, or answered with an error.
        """
        rest = service.shared_rest()
        url = self._url(rest, settings.run_url(service.address))
        return rest.send(self.method, url, headers=self._headers, **self._content)

    @contextmanager
    def stream(self, service: Service) -> Iterator[Iterator[str | bytes]]:
        """
        Send the request, and give what comes: the data of each event, each line of a text,
        or bytes.

        Raises:
            FalServerlessError: The service cannot be reached, or answered with an error.
        """
        import httpx

        rest = service.shared_rest()
        url = self._url(rest, settings.run_url(service.address))
        headers = {**rest.credentials.headers(), **self._headers}
        headers["Accept"] = "text/event-stream, */*"
        try:
            with rest.http.stream(self.method, url, headers=headers, **self._content) as told:
                if told.is_error:
                    told.read()
                    raise error_of(told)
                yield _parts_of(told)
        except httpx.HTTPError as error:
            raise FalServerlessError(f"The response broke off: {error}") from error

    def submit(self, service: Service) -> QueuedCall:
        """
        Put the request into the queue of the application.

        Raises:
            FalServerlessError: The service cannot be reached, or answered with an error.
        """
        rest = service.shared_rest()
        url = self._url(rest, settings.queue_url(service.address))
        told = rest.send("POST", url, headers=self._headers, **self._content).json()
        names = ("request_id", "status_url", "response_url", "cancel_url")
        return QueuedCall(rest, *(told[name] for name in names))

    def _url(self, rest: RestClient, base: str) -> str:
        app, question, query = self.app.partition("?")
        words = [each for each in app.split("/") if each]
        if self.owner is None and len(words) > 1 and words[0] == find_nickname(rest):
            del words[0]
        if not words:
            raise FalServerlessError(f"{self.app!r} names no application.")
        name = f"{self.owner}/{words[0]}" if self.owner else words[0]
        application = find_application(rest, name, self.environment_name)
        return f"{base}/{application}/{quote('/'.join(words[1:]))}{question}{query}"

    @property
    def _headers(self) -> dict[str, str]:
        return {"Content-Type": "application/json"}

    @property
    def _content(self) -> dict[str, Any]:
        import httpx

        # An application may take any time to answer.
        waits = httpx.Timeout(30.0, read=None, write=None)
        body = b"{}" if self.body is None and self.method == "POST" else self.body
        return {"content": body, "timeout": waits}


@attrs.frozen
class QueuedCall:
    """A request in the queue of an application."""

    _rest: RestClient = attrs.field(repr=False)
    request_id: str
    _status_url: str
    _response_url: str
    _cancel_url: str

    def follow(self) -> Iterator[str]:
        """
        Yield its state whenever that changes, and the lines of its log, until it is done.

        Raises:
            FalServerlessError: The service cannot be reached, or answered with an error.
        """
        state, shown, pause = "", 0, _FIRST
        while True:
            told = self._rest.send(
                "GET", self._status_url, params={"logs": "1"}, tries=3
            ).json()
            now = _describe(told)
            if now != state:
                state = now
                yield f"[{state}]"
            lines = told.get("logs") or []
            yield from (str(line.get("message", "")).rstrip("\n") for line in lines[shown:])
            shown = max(shown, len(lines))
            if told.get("status") == "COMPLETED":
                return
            time.sleep(pause)
            pause = min(pause * 1.5, _MOST)

    def cancel(self) -> None:
        """
        Cancel it.

        Raises:
            FalServerlessError: The service cannot be reached, or answered with an error.
        """
        self._rest.send("PUT", self._cancel_url)

    def response(self) -> httpx.Response:
        """
        Return the response of the application.

        Raises:
            FalServerlessError: The application answered with an error.
        """
        return self._rest.send("GET", self._response_url)


def _describe(told: Mapping[str, Any]) -> str:
    position = told.get("queue_position")
    words = {"IN_QUEUE": "waits", "IN_PROGRESS": "runs", "COMPLETED": "done"}
    word = words.get(str(told.get("status")), str(told.get("status")).lower())
    return f"{word} behind {position}" if word == "waits" and position else word


def _parts_of(response: httpx.Response) -> Iterator[str | bytes]:
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/event-stream"):
        data: list[str] = []
        for line in response.iter_lines():
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif not line and data:
                yield "\n".join(data)
                data.clear()
        if data:
            yield "\n".join(data)
    elif kind.startswith("text/") or "json" in kind:
        yield from response.iter_lines()
    else:
        yield from response.iter_bytes()
