"""Queries for the lines of logs: those that are kept, and those that come."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import attrs

from fal_core.errors import FalServerlessError
from fal_host_serverless.account.addresses import find_stage
from fal_host_serverless.wire.requests import full_name
from fal_host_serverless.wire.rest import RestClient, error_of
from fal_host_serverless.wire.services import Service

#: The most lines of one page.
_PAGE = 1000

#: Seconds without a heartbeat after which a stream has broken off, those between two attempts
#: to go on, and those in which one has to succeed.
_SILENCE, _PAUSE, _PATIENCE = 60.0, 1.0, 60.0

#: What a proxy answers while the server behind it starts anew.
_AGAIN = (502, 503, 504)

Line = Mapping[str, Any]


@attrs.frozen(kw_only=True)
class LogQuery:
    """
    Selects lines; all conditions must hold.

    Arguments:
        app_name: The name of an application. None for all.

        level: The lowest level, as in ``warning``.

        tail: The most lines, which are the newest. None for all.
    """

    app_name: str | None = None
    runner_id: str | None = None
    request_id: str | None = None
    search: str | None = None
    level: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    tail: int | None = None
    environment_name: str | None = None

    def read(self, service: Service) -> list[Line]:
        """
        Return the lines that are kept, in the order in which they came.

        Raises:
            FalServerlessError: The service cannot be reached, or answered with an error.
        """
        rest, query = service.shared_rest(), self._query()
        found: list[Line] = []
        while self.tail is None or len(found) < self.tail:
            left = _PAGE if self.tail is None else self.tail - len(found)
            query["page_size"] = str(min(_PAGE, left))
            page = rest.send("POST", "/logs/history", tries=3, params=query).json()
            found += page["items"]
            if not page.get("next_until"):
                break
            query["until"] = page["next_until"]
        # Lines of the same time are on one page, however many there are.
        return found[: self.tail][::-1]

    def follow(self, service: Service, last: Line | None) -> Iterator[Line]:
        """
        Yield the lines that come, for ever; those that come while the service starts anew are
        among them.

        Arguments:
            last: The last line that is known.

        Raises:
            FalServerlessError: The service cannot be reached, or answered with an error.
        """
        import httpx

        rest, query = service.shared_rest(), self._query()
        query.setdefault("since", datetime.now().astimezone().isoformat())
        broken = 0.0
        while True:
            if last is not None:
                query["since"] = str(last["timestamp"])
                query["after"] = str(last.get("number", ""))
            try:
                for line in _stream(rest, query):
                    last, broken = line, 0.0
                    yield line
            except httpx.HTTPError as error:
                broken = broken or time.monotonic()
                if time.monotonic() - broken > _PATIENCE:
                    raise FalServerlessError(f"The log broke off: {error}") from error
            time.sleep(_PAUSE)

    def _query(self) -> dict[str, str]:
        app = self.app_name
        stage = find_stage(self.environment_name)
        written = {
            "app_name": None if app is None else full_name(app, stage),
            "job_id": self.runner_id,
            "request_id": self.request_id,
            "search": self.search,
            "level": self.level,
            "since": _to_text(self.since),
            "until": _to_text(self.until),
        }
        return {name: value for name, value in written.items() if value}


def _to_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone().isoformat()


def _stream(rest: RestClient, query: Mapping[str, str]) -> Iterator[Line]:
    """Yield the lines of one connection."""
    import httpx

    timeout = httpx.Timeout(30.0, read=_SILENCE)
    headers = rest.credentials.headers()
    with rest.http.stream(
        "POST", "/logs/stream", params=dict(query), headers=headers, timeout=timeout
    ) as response:
        if response.is_error:
            response.read()
            if response.status_code in _AGAIN:
                response.raise_for_status()
            raise error_of(response)
        for text in response.iter_lines():
            if text.startswith("data: "):
                yield json.loads(text.removeprefix("data: "))
