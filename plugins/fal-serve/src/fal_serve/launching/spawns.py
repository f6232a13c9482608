"""Spawned applications, and the wait for an application until it answers."""

from __future__ import annotations

import time
from concurrent.futures import Future
from queue import Queue
from typing import TYPE_CHECKING, Any

from fal_serve.exceptions import AppClientError

if TYPE_CHECKING:
    import httpx

    from fal_core import SpawnInfo

#: Statuses of a service that is not up yet, from itself or from a gateway.
_NOT_YET = (404, 500)


class AppSpawnInfo:
    """
    A spawned application.

    Attributes:
        info: The call that runs it.
    """

    def __init__(self, info: SpawnInfo) -> None:
        self.info = info

    @property
    def url(self) -> str | None:
        """
        The URL of the application. Waits until it can be reached.

        Raises:
            Exception: Its own error, if it ends before that.
        """
        return self.info.url

    @property
    def application(self) -> str:
        """The path of the URL, which names the application."""
        return self.info.application

    @property
    def logs(self) -> Queue[Any]:
        """The lines that the application prints, as they come."""
        return self.info.logs

    @property
    def stream(self) -> Any:
        """The execution, through which the application is cancelled or drained."""
        return self.info.stream

    @property
    def future(self) -> Future[Any] | None:
        """A future that is done when the application has ended."""
        return self.info.future

    def cancel(self, grace: float = 2.0) -> None:
        """End the application, along with its requests."""
        self.info.cancel(grace)

    def drain(self) -> None:
        """End the application once it has answered its running requests."""
        self.stream.drain()

    def wait(
        self,
        *,
        health_request_timeout: float = 30,
        startup_timeout: float = 60,
        health_check_interval: float = 0.5,
        headers: dict[str, str] | None = None,
    ) -> None:
        """
        Wait until the application answers at ``/health``.

        Arguments:
            startup_timeout: Seconds to wait at most.

            headers: Of the requests, such as those that a gateway needs.

        Raises:
            AppClientError: It does not respond in time, or with an error.

            Exception: Its own error, if it ends before that.
        """
        until = time.monotonic() + startup_timeout
        url = await_url(self.info, startup_timeout)
        await_health(
            url,
            startup_timeout=startup_timeout,
            until=until,
            health_request_timeout=health_request_timeout,
            health_check_interval=health_check_interval,
            headers=headers,
        )


def await_url(info: SpawnInfo, startup_timeout: float) -> str:
    """
    Wait until an application has a URL, and return that.

    Raises:
        AppClientError: It has none within *startup_timeout* seconds.

        Exception: Its own error, if it ends before that.
    """
    if info.await_url(startup_timeout):
        assert info.url is not None
        return info.url
    raise late(startup_timeout, "it has no url yet")


def await_health(
    url: str,
    *,
    startup_timeout: float,
    until: float,
    health_request_timeout: float = 30,
    health_check_interval: float = 0.5,
    headers: dict[str, str] | None = None,
    not_yet: tuple[int, ...] = _NOT_YET,
) -> None:
    """
    Wait until the application at *url* answers at ``/health``.

    Arguments:
        until: The moment at which the *startup_timeout* is over.

        not_yet: Statuses of an application that is coming up.

    Raises:
        AppClientError: It does not respond in time, or with an error.
    """
    # Imported when it is needed: it takes a third of the time of a spawn.
    import httpx

    with httpx.Client(headers=headers, timeout=health_request_timeout) as client:
        while last := _ask(client, f"{url}/health", not_yet):
            if time.monotonic() + health_check_interval > until:
                raise late(startup_timeout, last)
            time.sleep(health_check_interval)


def late(startup_timeout: float, last: str) -> AppClientError:
    """Return the error of an application that is not up in time, and *last* was not."""
    return AppClientError(
        f"The application did not come up within {startup_timeout:g} s: {last}.", 500
    )


def _ask(client: httpx.Client, url: str, not_yet: tuple[int, ...]) -> str:
    """Return why the service at *url* is not up yet, or nothing if it is."""
    import httpx

    try:
        response = client.get(url)
    except httpx.TransportError as error:
        return f"{type(error).__name__}: {error}"
    if response.is_success:
        return ""
    if response.status_code in not_yet:
        return f"it answers {response.status_code}"
    raise AppClientError(
        f"The application answers {response.status_code} when asked for its health: "
        f"{response.text}",
        response.status_code,
        dict(response.headers),
    )
