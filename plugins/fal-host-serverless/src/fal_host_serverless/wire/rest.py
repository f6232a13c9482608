"""The REST service: files, accounts and queues."""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.errors import FalServerlessError, InternalFalServerlessError
from fal_host_serverless.errors import ResourceNotFound
from fal_host_serverless.wire import settings
from fal_host_serverless.wire.failures import refuse_certificate

if TYPE_CHECKING:
    import httpx

    from fal_host_serverless.wire.identities import Identity

#: Timeouts in seconds: the service takes long to put a large upload together.
_READING, _WRITING, _CONNECTING = 240.0, 300.0, 30.0

#: Seconds for which a shared connection waits for the next request, which is less than the
#: time after which servers close one, and how many there are, in use and waiting.
_KEPT, _MOST, _MOST_KEPT = 2.0, 100, 20


@attrs.define(eq=False, slots=False, repr=False)
class RestClient:
    """A client of the REST service that belongs to the gRPC service at *host*."""

    host: str
    credentials: Identity

    def __repr__(self) -> str:
        return f"RestClient({self.host!r})"

    @functools.cached_property
    def http(self) -> httpx.Client:
        """The pool of connections."""
        import httpx

        return httpx.Client(base_url=settings.rest_url(self.host), timeout=_timeout())

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
        Send a request and return the response.

        Arguments:
            tries: How often the request is sent before a failed connection or a 5xx
                response counts.

            content: Passed on to httpx, as in ``json=`` or ``files=``.

        Raises:
            FalServerlessError: The service cannot be reached, or answers with an error.
        """
        import httpx

        sent = {**self.credentials.headers(), **(headers or {})}
        for left in reversed(range(tries)):
            try:
                response = self.http.request(method, path, headers=sent, **content)
            except httpx.HTTPError as error:
                if left:
                    continue
                raise FalServerlessError(self._unreachable(error)) from error
            if not response.is_error:
                return response
            if response.status_code < 500 or not left:
                break
        raise error_of(response)

    def abilities(self) -> frozenset[str]:
        """
        Return what the service says that it can do beyond fal's protocol. Services that are
        no server of fal-core say nothing.

        Raises:
            FalServerlessError: The service cannot be reached.
        """
        import httpx

        try:
            response = self.http.get("/health")
        except httpx.HTTPError as error:
            raise FalServerlessError(self._unreachable(error)) from error
        return frozenset(response.headers.get("Fal-Core-Abilities", "").split())

    def _unreachable(self, error: httpx.HTTPError) -> str:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return refuse_certificate(str(self.http.base_url))
        return f"{self.http.base_url} cannot be reached: {error}"

    def put(self, url: str, content: bytes, *, content_type: str) -> httpx.Response:
        """
        Upload *content* to a storage URL, which needs no credentials: they are in the URL,
        which is not logged.

        Raises:
            FalServerlessError: The storage cannot be reached.
        """
        import httpx

        try:
            with _unlogged():
                return self.http.put(
                    url, content=content, headers={"Content-Type": content_type}
                )
        except httpx.HTTPError as error:
            raise FalServerlessError(f"The storage cannot be reached: {error}") from error

    def is_there(self, url: str) -> bool:
        """Return whether a storage still serves *url*, which needs no credentials."""
        import httpx

        try:
            with self.http.stream("GET", url) as response:
                return not response.is_error
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Close the connections."""
        if "http" in self.__dict__:
            self.http.close()

    def __enter__(self) -> RestClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SharedRestClient(RestClient):
    """
    A client that shares its connections with those of its kind in this process. They stay
    open for a moment after a request.
    """

    @property
    def http(self) -> httpx.Client:
        """The pool of connections."""
        url = settings.rest_url(self.host)
        with _lock:
            if url not in _pools:
                _pools[url] = _make_pool(url)
            return _pools[url]

    def close(self) -> None:
        """Leave the connections to others."""


_lock = threading.Lock()
#: The connections that are shared, by the base URL of their service.
_pools: dict[str, httpx.Client] = {}


def _begin_anew() -> None:
    """
    Forget the connections, which do not work in a forked child, and a lock that another
    thread may have held.
    """
    global _lock
    _lock = threading.Lock()
    _pools.clear()


os.register_at_fork(after_in_child=_begin_anew)


def _make_pool(url: str) -> httpx.Client:
    import httpx

    limits = httpx.Limits(
        max_connections=_MOST, max_keepalive_connections=_MOST_KEPT, keepalive_expiry=_KEPT
    )
    # A cookie would belong to one account, and the connections belong to all.
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.Client(base_url=url, timeout=_timeout(), limits=limits, cookies=no_cookies)


def close_shared() -> None:
    """Close all shared connections."""
    with _lock:
        for pool in _pools.values():
            pool.close()
        _pools.clear()


def _timeout() -> httpx.Timeout:
    import httpx

    return httpx.Timeout(connect=_CONNECTING, read=_READING, write=_WRITING, pool=_CONNECTING)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep the requests of this thread out of the log of httpx, which has their URLs."""
    log, thread = logging.getLogger("httpx"), threading.get_ident()

    def is_other(record: logging.LogRecord) -> bool:
        return record.thread != thread

    log.addFilter(is_other)
    try:
        yield
    finally:
        log.removeFilter(is_other)


def error_of(response: httpx.Response) -> FalServerlessError | InternalFalServerlessError:
    """Return the error for an error response."""
    try:
        detail = response.json()["detail"]
    except Exception:
        detail = response.text[:500] or response.reason_phrase
    path = response.request.url.path
    sentence = f"The server answers {response.status_code} at {path}: {detail}"
    request_id = response.headers.get("x-fal-request-id")
    if request_id:
        sentence += f" (request {request_id})"
    if response.status_code >= 500:
        return InternalFalServerlessError(sentence)
    not_found = response.status_code == 404
    return (ResourceNotFound if not_found else FalServerlessError)(sentence)
