"""
REST: what of the service is asked over HTTP.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.errors import FalServerlessError, InternalFalServerlessError
from fal_core.facts import facts
from fal_host_serverless import settings
from fal_host_serverless.credentials import Credentials

if TYPE_CHECKING:
    import httpx

#: Seconds: a large upload is put together slowly.
_READING, _WRITING, _CONNECTING = 240.0, 300.0, 30.0


@facts
class NotThere(FalServerlessError):
    """
    The service has nothing there; *message* says where.
    """


@attrs.define(eq=False, slots=False, repr=False)
class RestClient:
    """
    Requests to the REST service beside the address *host*.
    """

    host: str
    credentials: Credentials

    def __repr__(self) -> str:
        return f"RestClient({self.host!r})"

    @functools.cached_property
    def http(self) -> httpx.Client:
        """
        The connections.
        """
        import httpx

        timeout = httpx.Timeout(
            connect=_CONNECTING, read=_READING, write=_WRITING, pool=_CONNECTING
        )
        return httpx.Client(base_url=settings.rest_url(self.host), timeout=timeout)

    def send(
        self,
        method: str,
        path: str,
        *,
        tries: int = 1,
        headers: dict[str, str] | None = None,
        **content: Any,
    ) -> httpx.Response:
        """
        Send a request and return its answer.

        Raises:
            FalServerlessError: The service cannot be reached, or answers with an error.
        """
        import httpx

        sent = {**self.credentials.at(self.host).headers(), **(headers or {})}
        for left in reversed(range(tries)):
            try:
                answer = self.http.request(method, path, headers=sent, **content)
            except httpx.HTTPError as error:
                if left:
                    continue
                raise FalServerlessError(
                    f"{self.http.base_url} cannot be reached: {error}"
                ) from error
            if not answer.is_error:
                return answer
            if answer.status_code < 500 or not left:
                break
        raise failure_of(answer)

    def put(self, url: str, content: bytes, *, content_type: str) -> httpx.Response:
        """
        Send *content* to a storage, which needs no credentials.

        Raises:
            FalServerlessError: It cannot be reached.
        """
        import httpx

        try:
            return self.http.put(url, content=content, headers={"Content-Type": content_type})
        except httpx.HTTPError as error:
            raise FalServerlessError(f"The storage cannot be reached: {error}") from error

    def is_there(self, url: str) -> bool:
        """
        Tell whether a storage gives what is at *url*, which needs no credentials.
        """
        import httpx

        try:
            with self.http.stream("GET", url) as answer:
                return not answer.is_error
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """
        Close the connections.
        """
        if "http" in self.__dict__:
            self.http.close()

    def __enter__(self) -> RestClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def failure_of(answer: httpx.Response) -> FalServerlessError | InternalFalServerlessError:
    """
    Return the error that an answer stands for.
    """
    try:
        detail = answer.json()["detail"]
    except Exception:
        detail = answer.text[:500] or answer.reason_phrase
    sentence = f"The server answers {answer.status_code} at {answer.request.url.path}: {detail}"
    if answer.status_code >= 500:
        return InternalFalServerlessError(sentence)
    return (NotThere if answer.status_code == 404 else FalServerlessError)(sentence)
