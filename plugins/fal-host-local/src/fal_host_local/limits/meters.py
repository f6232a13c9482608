"""Meters: what the workers of a host have used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from fal_core.abilities import Usage
from fal_core.errors import UnsupportedError
from fal_core.machines import Device, discover_devices

if TYPE_CHECKING:
    from fal_core.workers import Worker

#: Seconds between two looks at the memory of GPUs.
_TURN = 0.1

#: Seconds that a worker may take to end.
_PATIENCE = 30.0


class Meter:
    """What the workers of one host use, until each has ended."""

    def __init__(self) -> None:
        self._metered: list[tuple[Worker, Callable[[], Usage], GpuMeter | None]] = []

    def add(self, worker: Worker, used: Callable[[], Usage], devices: Sequence[Device]) -> None:
        """
        Measure *worker*.

        Arguments:
            used: Returns what it has used, once it has ended.

            devices: Its GPUs.
        """
        gpus = GpuMeter(devices) if devices else None
        self._metered.append((worker, used, gpus))

    def read(self) -> Usage:
        """End the workers, and return the most that any of them has used."""
        most = Usage()
        for worker, used, gpus in self._metered:
            gpu_memory = None if gpus is None else gpus.stop()
            worker.stop_and_wait()
            most = most.or_more(attrs.evolve(used(), gpu_memory=gpu_memory))
        self._metered.clear()
        return most


class GpuMeter:
    """Looks at the memory of GPUs on a thread of its own."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._uuids = {device.uuid for device in devices}
        self._before = self._look()
        self._peak = self._before
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fal-core meter", daemon=True)
        self._thread.start()

    def stop(self) -> int | None:
        """
        Return the most bytes that were in use beyond those at the start; None where the
        vendor does not say.
        """
        self._stopped.set()
        self._thread.join(_PATIENCE)
        if self._before is None or self._peak is None:
            return None
        return self._peak - self._before

    def _run(self) -> None:
        while True:
            used = self._look()
            if used is not None:
                self._peak = max(self._peak or 0, used)
            if self._stopped.wait(_TURN):
                return

    def _look(self) -> int | None:
        used = [device.used for device in discover_devices() if device.uuid in self._uuids]
        known = [each for each in used if each is not None]
        return sum(known) if known else None


def refuse_measuring(kind: str) -> UnsupportedError:
    """Return the error of a call in an environment of *kind*, whose processes others start."""
    remedy = "Ask the engine of its containers, as with 'podman stats'."
    return UnsupportedError("local", f"measure calls of kind {kind!r}", remedy)
