"""Meters: what a runner uses, measured when somebody asks, and not too often."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from fal_core_worker import trees
from fal_server_agent.limits import find_mounts

#: Seconds for which what was measured is good enough, and how many times what it takes.
_FRESH, _SHARE = 1.0, 20

#: Seconds that a client waits for an answer.
_PATIENCE = 5.0


class Meter:
    """
    Measures what this process and its descendants use.

    It does so in a thread of its own, which nobody waits for: a driver may never answer, and
    the kernel takes a while to count much memory.
    """

    def __init__(self) -> None:
        # A function may set another.
        self._visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self._measured: asyncio.Future[bytes] | None = None
        self._until = 0.0

    async def read(self) -> bytes:
        """
        Return what was measured as JSON: ``node``, the name of this machine; ``memory`` and
        its ``limit``, in bytes; and ``gpus``. It is an empty object where that takes too long.
        """
        if self._measured is None or (self._measured.done() and time.monotonic() > self._until):
            loop = asyncio.get_running_loop()
            self._measured = loop.create_future()
            arguments = (loop, self._measured)
            threading.Thread(target=self._run, args=arguments, daemon=True).start()
        measured = self._measured
        await asyncio.wait({measured}, timeout=_PATIENCE)
        return measured.result() if measured.done() else b"{}"

    def _run(self, loop: asyncio.AbstractEventLoop, measured: asyncio.Future[bytes]) -> None:
        began = time.monotonic()
        told: dict[str, Any] = {}
        try:
            memory, limit = measure_memory()
            told = {"node": os.uname().nodename, "memory": memory, "limit": limit}
            told["gpus"] = measure_gpus(self._visible)
        finally:
            now = time.monotonic()
            self._until = now + max(_FRESH, _SHARE * (now - began))
            # The loop may have ended meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(measured.set_result, json.dumps(told).encode())


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
    """Yield the handles of the GPUs. Nothing counts after a name that is wrong, as CUDA has it."""
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


#: The files of a control group, by its version: what it uses, the part of that which the kernel
#: takes back before it ends a process, and its limit.
_FILES = {
    1: ("memory.usage_in_bytes", "total_inactive_file", "memory.limit_in_bytes"),
    2: ("memory.current", "inactive_file", "memory.max"),
}

#: The limits of groups that have none are as large as this, in bytes, or larger.
_NO_LIMIT = 1 << 62


def measure_memory() -> tuple[int | None, int | None]:
    """
    Return the bytes that this process and its descendants use, and those that they may. None
    where that is unknown, and without a limit.

    A control group counts them where they are alone in one. Elsewhere, what several processes
    share is counted once.
    """
    found = next(_read_groups(), None)
    if found is not None:
        return found
    processes = [os.getpid(), *trees.descendants(os.getpid())]
    return sum(map(_measure_process, processes)) or None, None


def _read_groups() -> Iterator[tuple[int, int | None]]:
    """Yield what the control groups tell that hold this process and its descendants alone."""
    for folder, version in _find_groups():
        with suppress(OSError, ValueError, KeyError):
            there = [int(each) for each in _read(f"{folder}/cgroup.procs").split()]
            ours = {os.getpid(), *trees.descendants(os.getpid())}
            if os.getpid() not in there or any(
                each not in ours and trees.runs(each) for each in there
            ):
                continue
            used, cached, most = _FILES[version]
            size = int(_read(f"{folder}/{used}"))
            told = dict(line.split() for line in _read(f"{folder}/memory.stat").splitlines())
            limit = _read(f"{folder}/{most}").strip()
            yield (
                max(0, size - int(told[cached])),
                int(limit) if limit.isdigit() and int(limit) < _NO_LIMIT else None,
            )


def _find_groups() -> Iterator[tuple[str, int]]:
    """Yield the folders in which the control group of this process may be, with their version."""
    paths: dict[int, str] = {}
    with suppress(OSError, ValueError):
        for line in _read("/proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                paths[2] = path
            elif "memory" in controllers.split(","):
                paths[1] = path
    for mount, version in find_mounts():
        if version in paths:
            yield f"{mount}{paths[version]}", version
            # In a container, its own group is mounted there.
            yield mount, version


def _measure_process(pid: int) -> int:
    """Return the bytes that a process uses, its share of what several do. 0 if it is gone."""
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) << 10
    with suppress(OSError, IndexError):
        return int(_read(f"/proc/{pid}/statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
