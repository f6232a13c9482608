"""
What ``fal-core doctor`` checks about machines.
"""

from __future__ import annotations

import pytest
from vendor_libraries import MISMATCH, VARIABLE, Gpu, Gpus

from fal_machines import fal_health_checks


def finding_of(name: str) -> tuple[bool, str]:
    """
    Return what the check *name* finds.
    """
    [check] = [each for each in fal_health_checks() if each.name == name]
    finding = check.run()
    return finding.ok, finding.message


def test_gpus_are_counted_by_model(gpus: Gpus) -> None:
    """
    The check tells which GPUs there are.
    """
    gpus.have(
        Gpu(uuid="GPU-a"),
        Gpu(uuid="GPU-b"),
        Gpu(uuid="GPU-c", name="NVIDIA L4", memory=24_000_000_000),
    )
    told = "2 of NVIDIA H100 80GB HBM3 with 85.5 GB; 1 of NVIDIA L4 with 24 GB."
    assert finding_of("gpus") == (True, told)


def test_no_gpu_is_no_failure(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A machine without GPUs, or without a driver, is fine.
    """
    assert finding_of("gpus") == (True, "This machine has no GPU.")
    monkeypatch.delenv(VARIABLE)
    ok, message = finding_of("gpus")
    assert ok
    assert message == "An NVIDIA driver is installed, but it is not loaded."


@pytest.mark.faults
def test_a_driver_that_fails_fails_the_check(gpus: Gpus) -> None:
    """
    A driver that is there and does not work is told with what to do.
    """
    gpus.fail("nvmlInitWithFlags", MISMATCH)
    ok, message = finding_of("gpus")
    assert not ok
    assert message.endswith("start this machine again.")
