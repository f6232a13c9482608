"""Detection: the GPUs of this machine, or why there are none."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from threading import Barrier, Thread

import pytest
from vendor_libraries import (
    LOST,
    MISMATCH,
    NOT_FOUND_FUNCTION,
    NOT_SUPPORTED,
    VARIABLE,
    Gpu,
    Gpus,
    Slice,
)

from fal_core.machines import Device, discover_devices
from fal_machines import detection, nvidia
from fal_machines.detection import detect, find_devices


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has said nothing yet."""
    monkeypatch.setattr(detection, "_told", set())


def test_gpus_are_found_with_what_the_driver_tells(gpus: Gpus) -> None:
    """Each GPU has its name, number, memory, capability, and what uses it."""
    gpus.have(Gpu(uuid="GPU-a", used=5 << 30, processes=(17, 12)), Gpu(uuid="GPU-b"))
    first, second = discover_devices()
    assert first == Device(
        kind="gpu",
        index=0,
        name="NVIDIA H100 80GB HBM3",
        uuid="GPU-a",
        memory=81559 << 20,
        compute_capability="9.0",
        used=5 << 30,
        processes=(12, 17),
    )
    assert (second.index, second.uuid, second.processes) == (1, "GPU-b", ())


def test_slices_follow_their_gpu(gpus: Gpus) -> None:
    """A GPU in MIG mode is told with its slices, which have its capability and name it."""
    slices = (Slice(uuid="MIG-1"), Slice(uuid="MIG-2", memory=9856 << 20, processes=(5,)))
    gpus.have(
        Gpu(uuid="GPU-a", slices=slices),
        Gpu(uuid="GPU-b", partitioned=True),
        Gpu(uuid="GPU-c", slices=(Slice(uuid="MIG-3"),)),
    )
    found = detect().devices
    assert [(each.kind, each.uuid, each.parent, each.index) for each in found] == [
        ("gpu", "GPU-a", None, 0),
        ("mig", "MIG-1", "GPU-a", 0),
        ("mig", "MIG-2", "GPU-a", 1),
        ("gpu", "GPU-b", None, 1),
        ("gpu", "GPU-c", None, 2),
        ("mig", "MIG-3", "GPU-c", 2),
    ]
    assert {each.partitioned for each in found if each.kind == "gpu"} == {True}
    assert {each.compute_capability for each in found} == {"9.0"}
    assert found[2].processes == (5,)


def test_a_driver_without_gpus_is_a_plain_answer(gpus: Gpus) -> None:
    """A driver that tells of no GPU is neither absent nor at fault."""
    assert detect() == detection.Detection()


def test_no_driver_is_a_plain_answer() -> None:
    """Without the library there are no GPUs, it is said why, and what reads it is not imported."""
    program = (
        "import sys; from fal_machines.detection import detect; found = detect(); "
        "print(found.absent, len(found.devices), len(found.faults), 'pynvml' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    if "No NVIDIA driver is installed" not in done.stdout:
        pytest.skip("this machine has a driver of NVIDIA")
    assert done.stdout == "No NVIDIA driver is installed. 0 0 False\n"
    assert done.stderr == ""


def test_a_driver_that_is_not_loaded_is_a_plain_answer(
    gpus: Gpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library alone, as in an image that runs without GPUs, is told apart from no library."""
    monkeypatch.delenv(VARIABLE)
    found = detect()
    assert found.absent == "An NVIDIA driver is installed, but it is not loaded."
    assert not found.devices
    assert not found.faults


def test_other_processes_find_the_same(gpus: Gpus) -> None:
    """A process that is started here finds the GPUs by its own path of libraries."""
    gpus.have(Gpu(uuid="GPU-a"))
    program = (
        "from fal_core.machines import discover_devices; print(discover_devices()[0].uuid)"
    )
    assert subprocess.check_output([sys.executable, "-c", program]) == b"GPU-a\n"


@pytest.mark.faults
def test_a_fork_while_the_driver_is_asked(gpus: Gpus) -> None:
    """A forked child does not wait for a thread of its parent."""
    gpus.have(Gpu(uuid="GPU-a"))
    # A thread that asks has it.
    with nvidia._lock:
        child = os.fork()
        if not child:
            signal.alarm(30)
            os._exit(0 if len(find_devices()) == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.faults
@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetHandleByIndex_v2",
        "nvmlDeviceGetName",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetMaxMigDeviceCount",
        "nvmlDeviceGetCudaComputeCapability",
        "nvmlDeviceGetComputeRunningProcesses_v3",
    ],
)
def test_a_gpu_that_is_lost_leaves_the_others(
    gpus: Gpus, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A GPU that fails while it is read is named, once, and the others are found."""
    gpus.have(Gpu(uuid="GPU-a"), Gpu(uuid="GPU-b", partitioned=True), Gpu(uuid="GPU-c"))
    gpus.fail(function, LOST, "GPU-b")
    with caplog.at_level(logging.WARNING):
        assert [each.uuid for each in find_devices()] == ["GPU-a", "GPU-c"]
        assert [each.uuid for each in find_devices()] == ["GPU-a", "GPU-c"]
    [line] = caplog.messages
    assert line.startswith("GPU 1 cannot be read and is not used: ")
    assert line.endswith(". 'nvidia-smi -i 1' may tell more.")


@pytest.mark.faults
def test_a_slice_that_fails_leaves_its_gpu(gpus: Gpus) -> None:
    """A slice that cannot be read is named, and the GPU and its other slices are found."""
    gpus.have(Gpu(uuid="GPU-a", slices=(Slice(uuid="MIG-1"), Slice(uuid="MIG-2"))))
    gpus.fail("nvmlDeviceGetName", LOST, "MIG-1")
    found = detect()
    assert [each.uuid for each in found.devices] == ["GPU-a", "MIG-2"]
    assert found.faults[0].startswith("A slice of GPU 0 cannot be read and is not used: ")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("function", "code", "sentence"),
    [
        ("nvmlInitWithFlags", MISMATCH, "NVIDIA's driver was updated"),
        ("nvmlInitWithFlags", LOST, "NVIDIA's driver does not start: "),
        ("nvmlDeviceGetCount_v2", LOST, "NVIDIA's driver cannot count the GPUs: "),
    ],
)
def test_a_driver_that_fails_is_a_fault(
    gpus: Gpus, function: str, code: int, sentence: str
) -> None:
    """A driver that is there and does not answer is told as a fault, and not as no GPU."""
    gpus.have(Gpu(uuid="GPU-a"))
    gpus.fail(function, code)
    found = detect()
    assert not found.devices
    assert found.absent is None
    assert found.faults[0].startswith(sentence)


@pytest.mark.parametrize("code", [NOT_SUPPORTED, NOT_FOUND_FUNCTION])
def test_what_a_device_cannot_tell_is_left_out(gpus: Gpus, code: int) -> None:
    """An old driver, or a GPU that has no memory of its own, is found with what it does tell."""
    gpus.have(Gpu(uuid="GPU-a", compute_capability="6.1"))
    for function in (
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetCudaComputeCapability",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetComputeRunningProcesses_v2",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetGraphicsRunningProcesses_v2",
        "nvmlDeviceGetGraphicsRunningProcesses_v3",
    ):
        gpus.fail(function, code)
    [found] = detect().devices
    assert (found.compute_capability, found.used, found.processes) == (None, None, ())
    assert not found.partitioned
    # It uses the memory of the machine.
    assert found.memory > 1 << 28


def test_threads_may_ask_at_a_time(gpus: Gpus) -> None:
    """Threads that detect at the same time all find the GPUs."""
    gpus.have(*(Gpu(uuid=f"GPU-{number}") for number in range(8)))
    counts: list[int] = []
    barrier = Barrier(4)

    def ask() -> None:
        barrier.wait(60)
        counts.extend(len(detect().devices) for _ in range(20))

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [8] * 80


def test_real_gpus_are_found() -> None:
    """On a machine with NVIDIA's driver, the GPUs are found that its own program lists."""
    program = shutil.which("nvidia-smi")
    if program is None:
        pytest.skip("there is no driver of NVIDIA here")
    listed = subprocess.run(
        [program, "--query-gpu=uuid,name,compute_cap", "--format=csv,noheader"],
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip(f"the driver of NVIDIA does not answer: {listed.stdout.strip()}")
    ask = (
        "from fal_core.machines import discover_devices\n"
        "for each in discover_devices():\n"
        "    if each.kind == 'gpu':\n"
        "        print(each.uuid, each.name, each.compute_capability, sep=', ')"
    )
    variables = {name: value for name, value in os.environ.items() if name != VARIABLE}
    found = subprocess.check_output([sys.executable, "-c", ask], text=True, env=variables)
    assert found == listed.stdout
