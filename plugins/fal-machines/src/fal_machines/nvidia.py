"""NVIDIA's GPUs, as the library of the driver tells them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import pynvml

from fal_core.machines import Device

ReturnT = TypeVar("ReturnT")

#: What asks for the processes that compute, and those that draw, by the newest way first:
#: drivers before 510 know the second alone.
_PROCESSES = (
    (
        pynvml.nvmlDeviceGetComputeRunningProcesses_v3,
        pynvml.nvmlDeviceGetComputeRunningProcesses_v2,
    ),
    (
        pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3,
        pynvml.nvmlDeviceGetGraphicsRunningProcesses_v2,
    ),
)

# The library counts how often it was initialised, and threads of one process share it.
_lock = threading.Lock()


def _forget_threads() -> None:
    """Begin without a thread that asks, as in a forked child."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_threads)


class NotLoaded(Exception):
    """The library is there, and the driver that it asks is not."""


def read_gpus() -> tuple[list[Device], list[str]]:
    """
    Return the GPUs, each followed by its slices, and what cannot be read, as sentences.

    Raises:
        NotLoaded: There is no driver to ask.
    """
    with _lock:
        try:
            pynvml.nvmlInit()
        except (pynvml.NVMLError_DriverNotLoaded, pynvml.NVMLError_LibraryNotFound) as error:
            raise NotLoaded from error
        except pynvml.NVMLError as error:
            return [], [_describe_start(error)]
        try:
            return _read_all()
        finally:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()


def _read_all() -> tuple[list[Device], list[str]]:
    devices: list[Device] = []
    faults: list[str] = []
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        return [], [f"NVIDIA's driver cannot count the GPUs: {error}."]
    slices = 0
    for index in range(count):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            gpu = _read_gpu(handle, index)
            places = _count_places(handle) if gpu.partitioned else 0
        except pynvml.NVMLError as error:
            faults.append(_describe_fault(f"GPU {index}", index, error))
            continue
        devices.append(gpu)
        for place in range(places):
            try:
                each = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
                devices.append(_read_slice(each, slices, gpu))
                slices += 1
            except pynvml.NVMLError_NotFound:
                # Not every place for a slice has one.
                continue
            except pynvml.NVMLError as error:
                faults.append(_describe_fault(f"A slice of GPU {index}", index, error))
    return devices, faults


def _read_gpu(handle: Any, index: int) -> Device:
    modes = _if_supported(pynvml.nvmlDeviceGetMigMode, handle)
    version = _if_supported(pynvml.nvmlDeviceGetCudaComputeCapability, handle)
    memory, used = _read_memory(handle)
    return Device(
        kind="gpu",
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        memory=memory,
        compute_capability=None if version is None else f"{version[0]}.{version[1]}",
        partitioned=modes is not None and modes[0] == pynvml.NVML_DEVICE_MIG_ENABLE,
        used=used,
        processes=_read_processes(handle),
    )


def _read_slice(handle: Any, index: int, gpu: Device) -> Device:
    memory, used = _read_memory(handle)
    return Device(
        kind="mig",
        index=index,
        name=pynvml.nvmlDeviceGetName(handle),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        memory=memory,
        # The driver tells it of whole GPUs alone.
        compute_capability=gpu.compute_capability,
        parent=gpu.uuid,
        used=used,
        processes=_read_processes(handle),
    )


def _count_places(gpu: Any) -> int:
    return _if_supported(pynvml.nvmlDeviceGetMaxMigDeviceCount, gpu) or 0


def _read_memory(handle: Any) -> tuple[int, int | None]:
    """Return how many bytes a device has, and how many are in use."""
    memory = _if_supported(pynvml.nvmlDeviceGetMemoryInfo, handle)
    if memory is None:
        # A GPU that shares the main memory has none of its own.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    return memory.total, memory.used


def _read_processes(handle: Any) -> tuple[int, ...]:
    return tuple(sorted({each.pid for asks in _PROCESSES for each in _first(asks, handle)}))


def _first(asks: tuple[Callable[[Any], list[Any]], ...], handle: Any) -> list[Any]:
    for ask in asks:
        found = _if_supported(ask, handle)
        if found is not None:
            return found
    return []


def _if_supported(ask: Callable[[Any], ReturnT], handle: Any) -> ReturnT | None:
    """Return what *ask* tells of a device. None where the device or its driver cannot tell it."""
    try:
        return ask(handle)
    except (
        pynvml.NVMLError_NotSupported,
        pynvml.NVMLError_FunctionNotFound,
        pynvml.NVMLError_NoPermission,
    ):
        return None


def _describe_start(error: pynvml.NVMLError) -> str:
    if isinstance(error, pynvml.NVMLError_LibRmVersionMismatch):
        return (
            "NVIDIA's driver was updated, and its library does not fit the module that is "
            "loaded: start this machine again."
        )
    return f"NVIDIA's driver does not start: {error}. 'nvidia-smi' may tell more."


def _describe_fault(what: str, index: int, error: pynvml.NVMLError) -> str:
    return (
        f"{what} cannot be read and is not used: {error}. "
        f"'nvidia-smi -i {index}' may tell more."
    )
