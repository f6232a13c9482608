"""Builds that a law decides about: environments whose build waits until it is let go, or fails."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from threading import Event
from typing import Any

import attrs
import pytest

from fal_core.environments import Environment, Interpreter
from fal_core.errors import Cancelled
from fal_core.events import LogSink
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Recorder


def with_build(environment: Environment, before: Callable[[Event], None]) -> Environment:
    """
    Return an environment like *environment*, of another key, that is never built yet.

    Arguments:
        before: Called before each build, with the event that cancels it. What it raises is
            what the build raises.
    """
    cls: Any = type(environment)
    own_key = f"{environment.key}-{os.urandom(8).hex()}"

    class Watched(cls):  # type: ignore[misc]  # its class may be any
        @property
        def key(self) -> str:
            return own_key

        def is_built(self) -> bool:
            return False

        def build(self, log: LogSink, cancelled: Event) -> Interpreter:
            before(cancelled)
            interpreter: Interpreter = environment.build(log, cancelled)
            return interpreter

    fields = attrs.fields(cls)
    values = {field.alias: getattr(environment, field.name) for field in fields if field.init}
    watched: Environment = Watched(**values)
    return watched


class HeldBuild:
    """
    A call whose environment is not built until :meth:`release`, or until it is cancelled.

    As a context it leaves neither a build nor a call behind.

    Attributes:
        recorder: The events of the call.

        inline: Whether the build was asked for on the thread that launched the call, which
            it does not hold.

        begun: Set once the build has begun.

        cancelled: Set once the build was told to end.

        given_up: Set once the build was held for too long.
    """

    def __init__(self, isolated: Any, timeout: float) -> None:
        self.recorder: Recorder = Recorder(isolated.make_launcher())
        self.inline: bool = False
        self.begun: Event = Event()
        self.cancelled: Event = Event()
        self.given_up: Event = Event()
        self._released = Event()
        self._timeout = timeout
        self._launched_by: int | None = None

    def __enter__(self) -> HeldBuild:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        if self.recorder.execution is not None and not self.recorder.ended:
            self.recorder.cancel(0.1)

    def launch(self) -> None:
        """Launch the call."""
        launcher = self.recorder.launcher
        call = launcher.call(((), {}))
        call = attrs.evolve(call, environment=with_build(call.environment, self._hold))
        self.recorder.call = call
        self._launched_by = threading.get_ident()
        self.recorder.follow(launcher.host.launch(call, self.recorder))

    def release(self) -> None:
        """Let the environment be built."""
        self._released.set()

    def wait_until_begun(self) -> None:
        """Wait until the build has begun; skip the law where the host asks for none here."""
        wait_until(lambda: self.begun.is_set() or self.recorder.ended, self._timeout)
        if not self.begun.is_set():
            assert self.recorder.ended, (
                f"The law waited {self._timeout:g} s for the build of an environment. "
                f"Until then came: {self.recorder.told}. See that launch has the environment "
                "built, by call.environment.build, before it starts a worker."
            )
            pytest.skip("The host asks for no build in this process.")

    def _hold(self, cancelled: Event) -> None:
        if threading.get_ident() == self._launched_by:
            # To hold it would be to wait for this very thread.
            self.inline = True
            self.begun.set()
            return
        self.begun.set()
        until = time.monotonic() + self._timeout
        while not self._released.wait(0.02):
            if cancelled.is_set():
                self.cancelled.set()
                raise Cancelled
            if time.monotonic() > until:
                self.given_up.set()
                return
