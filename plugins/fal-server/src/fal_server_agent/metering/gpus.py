"""
GPUs: what is used of those that a runner has, as the library of NVIDIA's driver tells it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

#: The library of the driver.
_LIBRARY = "libnvidia-ml.so.1"

#: The most GPUs that are told of.
MOST = 16

#: The longest name of a GPU, in bytes, with the zero at its end.
_LONGEST_NAME = 96


def measure_gpus(visible: str | None) -> list[dict[str, Any]]:
    """
    Return the name of each GPU, the bytes of its memory and of those in use, and for how many
    percent of the time it was busy. What the driver does not tell is None.

    Arguments:
        visible: ``CUDA_VISIBLE_DEVICES`` as the host has set it. None for all GPUs that this
            process sees.
    """
    if visible is not None and not visible.strip():
        return []
    # Most runners have no GPU, and need not import it.
    import ctypes

    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_LIBRARY)
        if library.nvmlInit_v2():
            return []
        try:
            found = []
            for handle in _find(library, visible):
                found.append(_describe(library, handle))
                if len(found) == MOST:
                    break
            return found
        finally:
            library.nvmlShutdown()
    return []


def _find(library: Any, visible: str | None) -> Iterator[Any]:
    """
    Yield the handles of the GPUs. Nothing counts after a name that is wrong, as CUDA has it.
    """
    import ctypes

    if visible is None:
        count = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return
        names = [str(index) for index in range(min(count.value, MOST))]
    else:
        names = [each.strip() for each in visible.split(",")]
    for name in names:
        handle = ctypes.c_void_p()
        if name.isascii() and name.isdecimal():
            index = ctypes.c_uint(int(name))
            problem = library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        else:
            problem = library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle))
        if problem:
            return
        yield handle


def _describe(library: Any, handle: Any) -> dict[str, Any]:
    import ctypes

    name = ctypes.create_string_buffer(_LONGEST_NAME)
    memory = (ctypes.c_ulonglong * 3)()  # all, free and used
    rates = (ctypes.c_uint * 2)()  # of the processors and of the memory
    has_name = not library.nvmlDeviceGetName(handle, name, ctypes.c_uint(len(name)))
    has_memory = not library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    # A slice of a GPU does not tell it.
    has_rates = not library.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(rates))
    return {
        "name": name.value.decode("utf-8", "replace") if has_name else None,
        "memory": memory[0] if has_memory else None,
        "used": memory[2] if has_memory else None,
        "busy": rates[0] if has_rates else None,
    }
