"""
What a call has used, and the smallest machine type that has as much.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fal_core.abilities import EnforcingHost, MeasuringHost, Usage
from fal_core.errors import UnsupportedError
from fal_core.functions import IsolatedFunction
from fal_core.hosts import Host
from fal_core.machines import Machine, smallest_machine
from fal_core.reprs import show_size

_REMEDY = "Add --on local to run it on this machine."


def enforcing(host: Host[Any, Any]) -> Host[Any, Any]:
    """
    Return a host like *host* that holds calls to the limits of their machine types.

    Raises:
        UnsupportedError: It cannot.
    """
    if isinstance(host, EnforcingHost):
        return host.enforcing()
    raise UnsupportedError(host.name, "hold calls to the limits of a machine type", _REMEDY)


@contextmanager
def measured(
    function: IsolatedFunction[..., Any],
) -> Iterator[IsolatedFunction[..., Any]]:
    """
    Give *function* on a host that measures, and print at the end what it has used.

    Raises:
        UnsupportedError: Its host measures nothing.
    """
    if not isinstance(function.host, MeasuringHost):
        raise UnsupportedError(function.host.name, "measure calls", _REMEDY)
    host = function.host.measuring()
    try:
        yield function.on(host)
    finally:
        assert isinstance(host, MeasuringHost)
        usage = host.read_usage()
        host.close()
        if usage.memory:
            # Else nothing has run.
            _print(describe(function, usage))


def describe(function: IsolatedFunction[..., Any], usage: Usage) -> str:
    """
    Return what *function* has used, in sentences.
    """
    parts = [
        f"{show_size(usage.memory)} of memory",
        f"{usage.processor_seconds:.2f} s of processors",
    ]
    if usage.gpu_memory is not None:
        parts.append(f"{show_size(usage.gpu_memory)} of GPU memory")
    fits = find_fitting(function, usage)
    if fits is None:
        last = "No installed plugin lists a machine type that is known to have as much."
    else:
        cpus = "" if fits.cpus is None else f", {fits.cpus:g} processors"
        memory = show_size(fits.memory or 0)
        last = f"The smallest machine type that fits is {fits.name!r} ({memory}{cpus})."
    return f"{function.declaration.name!r} used {', '.join(parts)} at most. {last}"


def find_fitting(function: IsolatedFunction[..., Any], usage: Usage) -> Machine | None:
    """
    Return the smallest machine with as many GPUs as *function* asks for, and with as much
    as it has used.
    """
    from fal_core.claims import wants_of
    from fal_core.declaring.vocabulary import structure_host_options

    wants = wants_of(structure_host_options(function.options, function.host))
    gpus = wants[0].count if wants else 0
    return smallest_machine(usage.memory, gpus=gpus, gpu_memory=usage.gpu_memory or 0)


def _print(sentence: str) -> None:
    from fal_core.events import Log
    from fal_core.sinks import print_log

    print_log(Log(sentence, "INFO", "BRIDGE"))
