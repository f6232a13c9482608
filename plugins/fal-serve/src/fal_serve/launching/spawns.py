"""
Spawned applications. It needs fal_core, and is not imported where a service runs.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from queue import Queue
from typing import TYPE_CHECKING, Any

from fal_core import SpawnInfo
from fal_serve.exceptions import AppClientError

if TYPE_CHECKING:
    import httpx

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
        """
        The path of the URL, which names the application.
        """
        return self.info.application

    @property
    def logs(self) -> Queue[Any]:
        """
        The lines that the application prints, as they come.
        """
        return self.info.logs

    @property
    def stream(self) -> Any:
        """
        The execution, through which the application is cancelled or drained.
        """
        return self.info.stream

    @property
    def future(self) -> Future[Any] | None:
        """
        A future that is done when the application has ended.
        """
        return self.info.future

    def cancel(self, grace: float = 2.0) -> None:
        """
        End the application, along with its requests.
        """
        self.info.cancel(grace)

    def drain(self) -> None:
        """
        End the application once it has answered its running requests.
        """
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
        # Imported when it is needed: it takes a third of the time of a spawn.
        import httpx

        until = time.monotonic() + startup_timeout
        last = "it has no url yet"
        if self.info.await_url(startup_timeout):
            with httpx.Client(headers=headers, timeout=health_request_timeout) as client:
                while True:
                    last = _ask(client, f"{self.url}/health")
                    if not last:
                        return
                    if time.monotonic() + health_check_interval > until:
                        break
                    time.sleep(health_check_interval)
        raise AppClientError(
            f"The application did not come up within {startup_timeout:g} s: {last}.", 500
        )


def _ask(client: httpx.Client, url: str) -> str:
    """
    Return why the service at *url* is not up yet, or nothing if it is.
    """
    import httpx

    try:
        response = client.get(url)
    except httpx.TransportError as error:
        return f"{type(error).__name__}: {error}"
    if response.is_success:
        return ""
    if response.status_code in _NOT_YET:
        return f"it answers {response.status_code}"
    raise AppClientError(
        f"The application answers {response.status_code} when asked for its health: "
        f"{response.text}",
        response.status_code,
        dict(response.headers),
    )
