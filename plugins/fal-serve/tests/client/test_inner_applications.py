"""Applications that others, and functions, connect to."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from fal_core import function
from fal_core_worker import current
from fal_serve import App, AppClient, AppClientError, AsyncAppClient, endpoint
from fal_testing.harness.processes import is_alive, wait_until

PATIENCE = 60


class Inner(App, kind="current"):
    @endpoint("/pid")
    def pid(self) -> int:
        return os.getpid()


class Failing(App, kind="current"):
    def setup(self) -> None:
        raise LookupError("The model is gone.")

    @endpoint("/")
    def nothing(self) -> None: ...


class Outer(App, kind="current"):
    def setup(self) -> None:
        self.opened = ExitStack()
        self.inner = self.opened.enter_context(AppClient.connect(Inner))

    @endpoint("/pids")
    async def pids(self) -> list[int]:
        async with AsyncAppClient.connect(Inner) as inner:
            return [os.getpid(), self.inner.pid(), await inner.pid()]

    @endpoint("/fail")
    def fail(self) -> str:
        try:
            with AppClient.connect(Failing):
                return ""
        except LookupError as error:
            return str(error)


def test_application_that_others_use():
    """
    An application is connected to in the setup of another one and in its endpoints, where it
    has a process of its own, and ends with the context, and with the one that uses it; its
    error is raised there.
    """
    with AppClient.connect(Outer) as outer:
        pids = outer.pids()
        assert len({os.getpid(), *pids}) == 4
        own, kept, ended = pids
        assert wait_until(lambda: not is_alive(ended), PATIENCE)
        assert is_alive(kept)
        assert outer.fail() == "The model is gone."
    assert wait_until(lambda: not (is_alive(own) or is_alive(kept)), PATIENCE)


@function("current")
def ask() -> list[int]:
    with AppClient.connect(Inner) as inner:
        return [os.getpid(), inner.pid()]


def test_application_that_a_function_uses():
    """A function in a worker connects to an application, which ends with the context."""
    worker, inner = ask()
    assert len({os.getpid(), worker, inner}) == 3
    assert wait_until(lambda: not is_alive(inner), PATIENCE)


def test_runner_without_its_server(monkeypatch: pytest.MonkeyPatch):
    """In a runner, a server that cannot be reached is named."""
    monkeypatch.setattr(current, "runtime", object())
    monkeypatch.setenv("IS_ISOLATE_AGENT", "1")
    monkeypatch.setenv("FAL_REST_HOST", "127.0.0.1:1")
    with (
        pytest.raises(AppClientError, match=r"127\.0\.0\.1:1/users/current cannot be reached"),
        AppClient.connect(Inner),
    ):
        pass
