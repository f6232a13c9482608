"""
Ports: where a service that wants one can have it, and who has it otherwise.
"""

from __future__ import annotations

import os

from fal_core.errors import PortTaken
from fal_core_worker.serving.networks import missing
from fal_core_worker.serving.ports import claim, free_port, holder, is_free

_LOOPBACK = "127.0.0.1"


class Place:
    """
    Where a service is reached that wants a port of its own.

    Attributes:
        inner: The port that it listens on.

        port: The one of this machine that leads there; another where the service
            has a network of its own.
    """

    def __init__(self, inner: int, port: int, lock: int | None) -> None:
        self.inner = inner
        self.port = port
        self._lock = lock

    @property
    def is_apart(self) -> bool:
        """
        Whether the service has a network of its own.
        """
        return self._lock is None

    @property
    def url(self) -> str:
        """
        Where the service is reached.
        """
        return f"http://{_LOOPBACK}:{self.port}"

    def leave(self) -> None:
        """
        Let others have the port.
        """
        lock, self._lock = self._lock, -1
        if lock is not None and lock >= 0:
            os.close(lock)


def take_port(port: int, name: str, reference: str) -> Place:
    """
    Return *port* for what we serve as *name*, which listens at this machine's own address.

    It could have any other, so that it is given no network for the sake of this one.

    Raises:
        PortTaken: Somebody else has it.
    """
    lock = claim(port, name, reference)
    if lock is not None and is_free(port, address=_LOOPBACK):
        return Place(port, port, lock)
    if lock is not None:
        os.close(lock)
    remedy = "'fal-core run --port' gives it another."
    raise PortTaken(port, holder(port, claimed=lock is None), remedy)


def find_place(port: int, name: str, reference: str) -> Place:
    """
    Return where the service *name* can have *port*, with a server that it brings.

    Raises:
        PortTaken: It is taken, and there are no network namespaces.
    """
    lock = claim(port, name, reference)
    if lock is not None:
        if is_free(port):
            return Place(port, port, lock)
        os.close(lock)
    reason = missing()
    if reason:
        raise PortTaken(port, holder(port, claimed=lock is None), reason)
    return Place(port, free_port(), None)
