"""Opening a stream to a worker: what it is sent before the first call."""

from __future__ import annotations

import marshal
import threading
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from fal_core.workers.bootstrap import preamble
from fal_core.workers.patient_streams import PatientStream
from fal_core_worker.stream import frames


class Beginning:
    """
    What a host does to start a worker: those that it makes meanwhile, on the same thread.

    Attributes:
        settings: What each of them is told.

        workers: The workers.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings: dict[str, Any] = {
            name: value for name, value in settings.items() if value is not None
        }
        self.workers: list[Any] = []

    def __enter__(self) -> Beginning:
        self._token = _beginning.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _beginning.reset(self._token)


_beginning: ContextVar[Beginning | None] = ContextVar("beginning", default=None)


def settings_for(worker: object) -> dict[str, Any]:
    """Return what *worker* is told because of what it is made for, and take note of it."""
    beginning = _beginning.get()
    if beginning is None:
        return {}
    beginning.workers.append(worker)
    return dict(beginning.settings)


class Opening:
    """
    Sends a worker what it is made of, once. It never waits for the process to read that.

    Attributes:
        settings: What the worker is told beside that. They may change until then.
    """

    __slots__ = ("_done", "_lock", "_secrets", "_stream", "settings")

    def __init__(self, stream: PatientStream, settings: Mapping[str, Any] | None) -> None:
        self.settings: dict[str, Any] = dict(settings or {})
        if self.settings.get("relayed"):
            stream.soon = 0.0
        self._secrets: dict[str, str] = {}
        self._done = False
        self._stream = stream
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Send it, unless that was done."""
        from fal_core.sealing.sources import worker_archive

        with self._lock:
            if self._done:
                return
            archive = worker_archive()
            configuration = marshal.dumps(self.settings, 2)
            # If the process has ended already, the first call finds out.
            with suppress(OSError):
                self._stream.begin(preamble(archive.digest, archive.data, configuration))
            self._done = True
            self._send_secrets()

    def add_secrets(self, values: Mapping[str, str]) -> None:
        """Set environment variables in the worker, before a function is opened."""
        with self._lock:
            self._secrets.update(values)
            if self._done:
                self._send_secrets()

    def _send_secrets(self) -> None:
        values, self._secrets = self._secrets, {}
        if values:
            with suppress(OSError, ValueError):
                self._stream.send(frames.SECRETS, data=marshal.dumps(values, 2))
