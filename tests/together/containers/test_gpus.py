"""GPUs in containers: those that the host has given, by their UUIDs, through CDI."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core.errors import HostError
from fal_host_local import LocalHost

sys.path.append(str(Path(__file__).resolve().parents[2] / "vendor"))

if importlib.util.find_spec("fal_machines") is None:
    pytest.skip("no plugin is installed that finds GPUs", allow_module_level=True)

from vendor_libraries import VARIABLE, Gpu, Gpus, gpus, nvml_library

__all__ = ["gpus", "nvml_library"]

pytestmark = pytest.mark.faults

#: Where engines look for descriptions of devices.
SPECIFICATIONS = Path("/etc/cdi")

FIRST, SECOND = "GPU-aaaaaaaa-0000", "GPU-bbbbbbbb-1111"


@pytest.fixture
def two_gpus(gpus: Gpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have two GPUs on this machine, and claims of the test's own."""
    gpus.have(Gpu(uuid=FIRST), Gpu(uuid=SECOND))
    monkeypatch.setenv("FAL_CORE_CLAIMS", str(tmp_path / "devices"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def described(two_gpus: None, gpus: Gpus, tmp_path: Path) -> Iterator[None]:
    """
    Have engines know both, as NVIDIA's toolkit describes them: with each comes its driver,
    which tells of this one alone.
    """
    devices = []
    for uuid in (FIRST, SECOND):
        own = Gpus(tmp_path / f"{uuid}.txt", gpus.library)
        own.have(Gpu(uuid=uuid))
        library = "libnvidia-ml.so.1"
        places = {str(gpus.library / library): f"/usr/lib/{library}", str(own.path): "/gpus"}
        mounts = [
            {"hostPath": here, "containerPath": there, "options": ["ro", "bind"]}
            for here, there in places.items()
        ]
        edits = {"mounts": mounts, "env": [f"{VARIABLE}=/gpus"]}
        devices.append({"name": uuid, "containerEdits": edits})
    written = {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": devices}
    is_new = not SPECIFICATIONS.exists()
    SPECIFICATIONS.mkdir(exist_ok=True)
    path = SPECIFICATIONS / f"fal-core-tests-{os.getpid()}.json"
    try:
        path.write_text(json.dumps(written))
        yield
    finally:
        path.unlink(missing_ok=True)
        if is_new:
            SPECIFICATIONS.rmdir()


@pytest.fixture
def host() -> Iterator[LocalHost]:
    host = LocalHost()
    yield host
    host.close()


def find_gpus() -> tuple[str | None, list[str]]:
    """Return what the variables and the driver tell of GPUs."""
    import ctypes

    nvml = ctypes.CDLL("/usr/lib/libnvidia-ml.so.1")
    count, uuids = ctypes.c_uint(), []
    nvml.nvmlInit_v2()
    nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    for index in range(count.value):
        device, text = ctypes.c_void_p(), ctypes.create_string_buffer(96)
        nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
        nvml.nvmlDeviceGetUUID(device, text, 96)
        uuids.append(text.value.decode())
    return os.environ.get("CUDA_VISIBLE_DEVICES"), uuids


def test_a_container_has_the_gpu_that_its_worker_was_given(
    contained: Any, described: None, host: LocalHost
):
    """Each worker has one of its own, and sees no other."""
    first = contained(host=host, num_gpus=1, shm_size="81m")(find_gpus)
    second = contained(host=host, num_gpus=1, shm_size="82m")(find_gpus)
    assert first() == (FIRST, [FIRST])
    assert second() == (SECOND, [SECOND])
    assert first() == (FIRST, [FIRST])


def test_a_gpu_that_the_engine_does_not_know_is_an_error(
    contained: Any, two_gpus: None, host: LocalHost
):
    """The error names the GPU, and what describes it to the engine."""
    never = contained(host=host, num_gpus=1, shm_size="83m")(find_gpus)
    with pytest.raises(HostError, match=rf"knows no GPU {FIRST}.*nvidia-ctk cdi generate"):
        never()
