"""What ``fal-core doctor`` checks about machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from vendor_libraries import MISMATCH, VARIABLE, Gpu, Gpus

from fal_machines import fal_health_checks
from fal_machines.files import VARIABLE as MACHINES


def finding_of(name: str) -> tuple[bool, str]:
    """Return what the check *name* finds."""
    [check] = [each for each in fal_health_checks() if each.name == name]
    finding = check.run()
    return finding.ok, finding.message


def test_gpus_are_counted_by_model(gpus: Gpus) -> None:
    """The check tells which GPUs there are."""
    gpus.have(
        Gpu(uuid="GPU-a"),
        Gpu(uuid="GPU-b"),
        Gpu(uuid="GPU-c", name="NVIDIA L4", memory=24_000_000_000),
    )
    told = "2 of NVIDIA H100 80GB HBM3 with 85.5 GB; 1 of NVIDIA L4 with 24 GB."
    assert finding_of("gpus") == (True, told)


def test_no_gpu_is_no_failure(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without GPUs, or without a driver, is fine."""
    assert finding_of("gpus") == (True, "This machine has no GPU.")
    monkeypatch.delenv(VARIABLE)
    ok, message = finding_of("gpus")
    assert ok
    assert message == "An NVIDIA driver is installed, but it is not loaded."


@pytest.mark.faults
def test_a_driver_that_fails_fails_the_check(gpus: Gpus) -> None:
    """A driver that is there and does not work is told with what to do."""
    gpus.fail("nvmlInitWithFlags", MISMATCH)
    ok, message = finding_of("gpus")
    assert not ok
    assert message.endswith("start this machine again.")


def test_machine_types_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check tells how many types are known, and which file adds some."""
    monkeypatch.delenv(MACHINES, raising=False)
    monkeypatch.chdir("/")
    assert finding_of("machine types") == (True, "15 are known.")
    path = tmp_path / "mine.toml"
    path.write_text("[machines.BIG]\n")
    monkeypatch.setenv(MACHINES, str(path))
    assert finding_of("machine types") == (True, f"16 are known, with those of {path}.")


@pytest.mark.faults
def test_a_file_of_types_that_is_wrong_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in it is told with its place."""
    path = tmp_path / "mine.toml"
    path.write_text("[machines.BIG]\ncpus = -1\n")
    monkeypatch.setenv(MACHINES, str(path))
    ok, message = finding_of("machine types")
    assert not ok
    assert message.startswith(f"{path}, line 2: 'cpus' must be ")
