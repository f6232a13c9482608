"""Visible devices: what a scheduler has given bounds what may be used."""

from __future__ import annotations

import pytest

from fal_core.claims import visible_devices
from fal_testing.harness.devices import gpu, gpu_slice

FOUR = [
    gpu(0),
    gpu(1, uuid="GPU-abcd"),
    gpu(2, partitioned=True),
    gpu_slice(0, "GPU-2"),
    gpu_slice(1, "GPU-2"),
]


@pytest.mark.parametrize(
    ("named", "uuids"),
    [
        ("1,0", ["GPU-abcd", "GPU-0"]),
        ("GPU-abcd", ["GPU-abcd"]),
        ("GPU-ab", ["GPU-abcd"]),
        ("MIG-1", ["MIG-1"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        # Nothing counts after a name that is wrong, or fits several.
        ("0,7,1", ["GPU-0"]),
        ("0,GPU-", ["GPU-0"]),
        (" 0 , 0", ["GPU-0"]),
        # Of a GPU in slices a process sees the first.
        ("2", ["MIG-0"]),
    ],
)
def test_what_a_scheduler_names_is_all_there_is(named: str, uuids: list[str]) -> None:
    """Devices are named by numbers, by UUIDs, by their beginnings, or as slices, as in CUDA."""
    assert [device.uuid for device in visible_devices(FOUR, named)] == uuids


def test_the_variable_of_this_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one given, ``CUDA_VISIBLE_DEVICES`` is asked, and without that all are visible."""
    assert visible_devices(FOUR) == FOUR
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert visible_devices(FOUR) == [FOUR[1]]
