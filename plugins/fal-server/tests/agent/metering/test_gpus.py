"""GPUs that are measured, as the library of the driver tells of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[5] / "tests" / "vendor"))

from vendor_libraries import LOST, Gpu, Slice, gpus, nvml_library

from fal_server_agent.metering.meters import MOST, measure_gpus

__all__ = ["gpus", "nvml_library"]

GIB = 1 << 30

FIRST = Gpu(uuid="GPU-1", name="A card", memory=80 * GIB, used=20 * GIB, busy=35)
SECOND = Gpu(uuid="GPU-2", name="Another", memory=40 * GIB, used=GIB)
SLICED = Gpu(uuid="GPU-3", slices=(Slice(uuid="MIG-1", name="A slice", used=GIB),))


def names_of(visible: str | None) -> list[Any]:
    return [each["name"] for each in measure_gpus(visible)]


def test_gpus_are_told_with_what_is_used_of_them(gpus: Any):
    """A GPU is told with its memory, what of that is in use, and how busy it is."""
    gpus.have(FIRST, SECOND)
    assert measure_gpus("GPU-1") == [
        {"name": "A card", "memory": 80 * GIB, "used": 20 * GIB, "busy": 35}
    ]


def test_only_gpus_of_the_runner_are_told(gpus: Any):
    """
    The host names those by their numbers or their UUIDs; nothing counts after a wrong name. A
    runner that has none is told of none.
    """
    gpus.have(FIRST, SECOND)
    assert names_of("GPU-2,GPU-1") == ["Another", "A card"]
    assert names_of("1") == ["Another"]
    assert names_of("0, GPU-9, 1") == ["A card"]
    assert names_of(None) == ["A card", "Another"]
    assert names_of("") == []


def test_slice_does_not_tell_how_busy_it_is(gpus: Any):
    """What the driver does not tell is None."""
    gpus.have(SLICED)
    (told,) = measure_gpus("MIG-1")
    assert (told["name"], told["used"], told["busy"]) == ("A slice", GIB, None)


@pytest.mark.parametrize(
    "function",
    ["nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates"],
)
def test_gpu_that_fails(gpus: Any, function: str):
    """A GPU that does not answer one question is told with what it answers to the others."""
    gpus.have(FIRST)
    gpus.fail(function, LOST)
    (told,) = measure_gpus("GPU-1")
    assert list(told.values()).count(None) == (2 if "Memory" in function else 1)


@pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetCount_v2"])
def test_driver_that_fails(gpus: Any, function: str):
    """A driver that fails tells of no GPU."""
    gpus.have(FIRST)
    gpus.fail(function, LOST)
    assert measure_gpus(None) == []


def test_so_many_gpus_are_told(gpus: Any):
    """A name that stands there often is no reason to tell of more GPUs."""
    gpus.have(FIRST)
    assert len(measure_gpus(",".join(["0"] * 100))) == MOST
