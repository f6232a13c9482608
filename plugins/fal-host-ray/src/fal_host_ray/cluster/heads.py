"""
The head of a cluster, and requests that wait while it is away.

This runs beside the launcher, in a Python that has Ray: it imports the standard library alone.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Seconds that a cluster may take to be connected to.
_REACH = 10.0
#: Seconds that the head may be away while something waits for it, and between two looks. Ray
#: itself tries for a minute to reach it, and ends the program then.
_AWAY, _LOOK = 8.0, 2.0


class Head:
    """
    The head of a cluster.

    Arguments:
        address: What Ray was told.

        tell: Tells a request, by its number, an event.
    """

    def __init__(self, ray: Any, address: str | None, tell: Callable[..., None]) -> None:
        self.ray = ray
        self.tell = tell
        self.is_client = str(address).startswith("ray://")
        if self.is_client:
            self.where = str(address).rpartition("://")[2]
        else:
            self.where = str(ray.get_runtime_context().gcs_address)
        self.waiting: set[int] = set()
        self.changed = threading.Condition()
        threading.Thread(target=self.watch, daemon=True).start()

    @contextmanager
    def awaited(self, number: int) -> Iterator[None]:
        """Tell a request, which waits for Ray meanwhile, if the head is away."""
        with self.changed:
            self.waiting.add(number)
            self.changed.notify_all()
        try:
            yield
        finally:
            with self.changed:
                self.waiting.discard(number)
                self.changed.notify_all()

    def watch(self) -> None:
        """End the requests that wait while the head is away."""
        away_since: float | None = None
        while True:
            with self.changed:
                if not self.waiting:
                    away_since = None
                self.changed.wait_for(lambda: self.waiting)
                # Most are answered before the first look.
                self.changed.wait_for(lambda: not self.waiting, _LOOK)
                waiting = list(self.waiting)
            absence = absence_of(self.where, _LOOK) if waiting else ""
            if not absence:
                away_since = None
                continue
            now = time.monotonic()
            away_since = now if away_since is None else away_since
            if now - away_since >= _AWAY:
                for number in waiting:
                    self.tell(number, "closed", why=f"The head is gone: {absence}")
                with self.changed:
                    self.waiting.difference_update(waiting)

    def is_cut_off(self) -> bool:
        """Return whether a connection of Ray's client has been lost for good."""
        if not self.is_client:
            return False
        try:
            # It asks the server, and tries again for as long as that may come back.
            self.ray.cluster_resources()
        except Exception:
            return True
        return False


def absence(address: str | None) -> str:
    """
    Return why nobody is at *address*, as a sentence; empty if somebody may be. Ray itself looks
    for minutes.
    """
    # As Ray has it.
    where = os.environ.get("RAY_ADDRESS", "") if address in (None, "auto") else address
    return absence_of((where or "").rpartition("://")[2], _REACH)


def absence_of(where: str, seconds: float) -> str:
    """Return why nobody is at *where*, a host and a port, as a sentence; empty if somebody may be."""
    host, _, port = where.rpartition(":")
    if not (host and port.isdigit()):
        return ""
    try:
        socket.create_connection((host.strip("[]"), int(port)), seconds).close()
    except OSError as error:
        return f"{host}:{port} cannot be connected to: {error.strerror or error}."
    return ""
