"""
Limits of containers: the sizes of a machine type, held by the engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fal_core.machines import Machine
from fal_core.testing.harness.devices import machine_with

pytestmark = pytest.mark.faults

MB = 1000**2
SMALL = Machine(name="small", cpus=0.5, memory=200 * MB, processes=40)
LARGE = Machine(name="large", memory=4000 * MB)
VAGUE = Machine(name="vague")


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with machine_with(machines=(SMALL, LARGE, VAGUE)):
        yield


def start_many() -> int:
    import threading

    gate = threading.Event()
    started = 0
    try:
        for _ in range(200):
            threading.Thread(target=gate.wait).start()
            started += 1
    except RuntimeError:
        pass
    finally:
        gate.set()
    return started


def test_processes_are_counted(contained: Any):
    """
    A function has as many processes and threads as its machine type states.
    """
    few = contained(machine_type="small", on_unsupported="ignore")(start_many)
    assert few() < 40
    many = contained(machine_type="vague", on_unsupported="ignore")(start_many)
    assert many() == 200
