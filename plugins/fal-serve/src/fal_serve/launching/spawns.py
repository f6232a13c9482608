"""
Applications that were spawned. It needs fal_core, and is not imported where one runs.
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

#: Answers of a service that is not up yet, from itself or from a gateway before it.
_NOT_YET = (404, 500)


class AppSpawnInfo:
    """
    An application that was spawned.

    Attributes:
        info: The call that runs it.
    """

    def __init__(self, info: SpawnInfo) -> None:
        self.info = info

    @property
    def url(self) -> str | None:
        """
        Wait until the application can be reached and return where.

        Raises:
            Exception: Its own error, if it ends before that.
        """
        return self.info.url

    @property
    def application(self) -> str:
        """
        The path of the url: how the application is named.
        """
        return self.info.application

    @property
    def logs(self) -> Queue[Any]:
        """
        The lines that the application printed, as they come.
        """
        return self.info.logs

    @property
    def stream(self) -> Any:
        """
        The execution, to cancel or drain the application by.
        """
        return self.info.stream

    @property
    def future(self) -> Future[Any] | None:
        """
        The future of its end.
        """
        return self.info.future

    def cancel(self, grace: float = 2.0) -> None:
        """
        End the application, its requests included.
        """
        self.info.cancel(grace)

    def drain(self) -> None:
        """
        End the application once it has answered the requests that it has.
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

            headers: Of the requests, as a gateway may ask for.

        Raises:
            AppClientError: It does not answer in time, or not as it should.

            Exception: Its own error, if it ends before that.
        """
        # Imported once it is needed: it takes a third of what a spawn does.
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
        answer = client.get(url)
    except httpx.TransportError as error:
        return f"{type(error).__name__}: {error}"
    if answer.is_success:
        return ""
    if answer.status_code in _NOT_YET:
        return f"it answers {answer.status_code}"
    raise AppClientError(
        f"The application answers {answer.status_code} when asked for its health: "
        f"{answer.text}",
        answer.status_code,
        dict(answer.headers),
    )
