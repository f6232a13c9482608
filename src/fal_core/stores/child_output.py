"""What child processes of a build print, line by line, while somebody waits for the build."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from select import POLLIN, poll
from threading import Event

from fal_core.errors import Cancelled
from fal_core.stores.builds import exiting

#: Milliseconds between two looks at whether anybody waits.
_PATIENCE = 50


def read_lines(
    *outputs: int, cancelled: Event, has_ended: Callable[[], bool], longest: int = 1 << 20
) -> Iterator[tuple[int, str]]:
    """
    Yield the lines that come from *outputs*, each with the descriptor that it came from, until
    the first of these descriptors is closed, or the child process has ended.

    A carriage return ends a line too, as progress bars write them.

    Arguments:
        has_ended: Whether the child process has ended. One that it has left behind may still
            hold its output.

        longest: Bytes after which a line that has not ended is cut. One without an end would
            fill the memory.

    Raises:
        Cancelled: *cancelled* was set, or this process ends.
    """
    rests = {descriptor: bytearray() for descriptor in outputs}
    watched = poll()
    for descriptor in outputs:
        watched.register(descriptor, POLLIN)
    while outputs[0] in rests:
        if cancelled.is_set() or exiting.is_set():
            raise Cancelled("The call was cancelled while its environment was being built.")
        ready = watched.poll(_PATIENCE)
        if not ready and has_ended():
            break
        for descriptor, _ in ready:
            block = os.read(descriptor, 1 << 16)
            rest = rests[descriptor]
            for line in block.replace(b"\r", b"\n").splitlines(keepends=True):
                rest += line
                if rest.endswith(b"\n") or len(rest) > longest:
                    yield descriptor, _text(rest)
                    rest.clear()
            if not block:
                watched.unregister(descriptor)
                del rests[descriptor]
                if rest:
                    yield descriptor, _text(rest)
    yield from ((descriptor, _text(rest)) for descriptor, rest in rests.items() if rest)


def _text(line: bytearray) -> str:
    return line.decode(errors="replace").rstrip()
