"""
Applications that programs, and other applications, connect to: where each one runs.

A program spawns it. Code in a worker has the program spawn it that launched the worker, and
code in a runner of a server uses the one that is deployed there. It is imported where a
service runs as well, and there without fal_core.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from fal_core_worker import current
from fal_serve.answering.logs import is_access_line
from fal_serve.client.credentials import credentials, explain_missing_key
from fal_serve.exceptions import AppClientError
from fal_serve.launching.spawns import await_health, await_url

if TYPE_CHECKING:
    from fal_core import Host
    from fal_serve.apps import App
    from fal_serve.launching.spawns import AppSpawnInfo

#: Statuses of a deployed application whose runner is coming up.
_COMING = (500, 502, 503, 504)

#: Seconds between two looks at whether those who use an application are gone.
_TICK = 0.1

#: Seconds until an application that is to end is ended along with its requests.
_GRACE = 2.0

#: Seconds to wait after that until it has ended.
_AFTER = 3.0

#: Waits for the application, at most for *startup_timeout* seconds, and returns its URL. Other
#: arguments are those of :func:`~fal_serve.launching.spawns.await_health`.
Wait = Callable[..., str]


class Asker(Protocol):
    """
    The call in a worker that asks its program for something.

    Attributes:
        host: Where it runs.

        is_over: Tells whether it has ended.
    """

    @property
    def host(self) -> Host[..., Any]: ...

    @property
    def is_over(self) -> Callable[[], bool]: ...


@contextlib.contextmanager
def launched(cls: type[App]) -> Iterator[Wait]:
    """
    Launch an application, and end it when the context ends; one that is deployed is left alone.

    The lines that it prints are printed by the program that launched it, without its access
    log.
    """
    if current.runtime is None:
        info = cls.spawn()
        with _ending(info):
            yield lambda **limits: _wait_here(info, **limits)
    elif os.environ.get("IS_ISOLATE_AGENT"):
        yield lambda **limits: _find_deployed(cls, **limits)
    else:
        with _launched_at_home(cls) as wait:
            yield wait


def _wait_here(info: AppSpawnInfo, **limits: Any) -> str:
    info.wait(**limits)
    assert info.url is not None
    return info.url


# -- in a worker -------------------------------------------------------------------------


@contextlib.contextmanager
def _launched_at_home(cls: type[App]) -> Iterator[Wait]:
    runtime = current.runtime
    assert runtime is not None
    number = runtime.call_home(current.AT_HOME, (begin_for, cls), {})

    def wait(*, startup_timeout: float, **limits: Any) -> str:
        until = time.monotonic() + startup_timeout
        args = (find_url, number, startup_timeout)
        url: str = runtime.call_home(current.AT_HOME, args, {}).rstrip("/")
        await_health(url, startup_timeout=startup_timeout, until=until, **limits)
        return url

    try:
        yield wait
    finally:
        # Where this code is over, home sees that by itself.
        with contextlib.suppress(RuntimeError):
            runtime.call_home(current.AT_HOME, (end, number), {})


_numbers = itertools.count(1)
_spawned: dict[int, tuple[AppSpawnInfo, threading.Event]] = {}


def begin_for(asker: Asker, cls: type[App]) -> int:
    """Spawn an application on the host of *asker*, which ends with it, and return its number."""
    info, over, number = cls.spawn(asker.host), threading.Event(), next(_numbers)
    _spawned[number] = info, over
    if number == 1:
        # Before what is spawned is named at the end of the program: this is as it should be.
        atexit.register(_end_all)

    def keep() -> None:
        with _ending(info):
            while not (over.wait(_TICK) or asker.is_over()):
                pass
            _spawned.pop(number, None)

    threading.Thread(target=keep, name=f"fal-serve {cls.__name__}", daemon=True).start()
    return number


def _end_all() -> None:
    for info, _ in list(_spawned.values()):
        info.cancel()


def find_url(asker: Asker, number: int, startup_timeout: float) -> str:
    """Wait for the URL of an application."""
    info, _ = _spawned[number]
    return await_url(info.info, startup_timeout)


def end(asker: Asker, number: int) -> None:
    """End an application."""
    if number in _spawned:
        _spawned[number][1].set()


# -- in a runner of a server -------------------------------------------------------------


def _find_deployed(
    cls: type[App], *, startup_timeout: float, health_request_timeout: float = 30, **rest: Any
) -> str:
    """
    Return the URL of a deployed application of the account of this runner, once it answers.

    It is the one of the stage of this runner's own application.

    Raises:
        AppClientError: There is none, or it does not answer.
    """
    until = time.monotonic() + startup_timeout
    owner = _find_owner(health_request_timeout)
    stage = os.environ.get("FAL_APP_NAME", "").partition("--")[2]
    name = f"{cls.app_name}--{stage}" if stage else cls.app_name
    host = os.environ.get("FAL_RUN_HOST") or "fal.run"
    url = f"https://{host}/{owner}/{name}"
    try:
        await_health(
            url,
            startup_timeout=startup_timeout,
            until=until,
            health_request_timeout=health_request_timeout,
            headers=credentials(url),
            not_yet=_COMING,
            **rest,
        )
    except AppClientError as error:
        if error.status_code != 404:
            raise
        option = f" --env {stage}" if stage else ""
        raise AppClientError(
            f"{cls.__name__} is not deployed: {owner} has no application {name!r}. An "
            "application that runs on a server uses another one that is deployed there as "
            f"well: 'fal-core deploy FILE.py::{cls.__name__}{option}'.",
            404,
        ) from error
    return url


def _find_owner(timeout: float) -> str:
    """Return the name of the account that this runner belongs to."""
    url = f"https://{os.environ.get('FAL_REST_HOST') or 'rest.fal.ai'}/users/current"
    try:
        answer = httpx.get(url, headers=credentials(url), timeout=timeout)
    except httpx.TransportError as error:
        raise AppClientError(f"{url} cannot be reached: {error}", 500) from error
    if answer.status_code == 401:
        raise AppClientError(f"{url} answers 401. {explain_missing_key(url)}", 401)
    if not answer.is_success:
        raise AppClientError(f"{url} answers {answer.status_code}.", answer.status_code)
    return str(answer.json()["nickname"])


# -- its lines and its end ---------------------------------------------------------------


@contextlib.contextmanager
def _ending(info: AppSpawnInfo) -> Iterator[None]:
    """
    Print the lines of an application, and end it when the context ends.

    Its last lines come while it ends. The access log would stand among the output of the
    program.
    """
    from fal_core.sinks import print_log

    over = threading.Event()

    def follow() -> None:
        while not (over.is_set() and info.logs.empty()):
            try:
                line = info.logs.get(timeout=0.1)
            except queue.Empty:
                continue
            if not (line.level == "INFO" and is_access_line(line.message)):
                print_log(line)

    thread = threading.Thread(target=follow, name="fal-serve log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        info.cancel(_GRACE)
        if info.future is not None:
            futures.wait([info.future], _GRACE + _AFTER)
        over.set()
        thread.join()
