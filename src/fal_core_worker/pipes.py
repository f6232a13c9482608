"""
Pipes: what is printed below Python goes through them, whatever the function does there.
"""

from __future__ import annotations

import fcntl
import os
import select
from collections.abc import Sequence

SIZE = 1 << 20
_F_SETPIPE_SZ = 1031


class Pipes:
    """
    The pipes of this process's standard output, level 0, and standard error, level 1.

    Once calls run, whoever adds or leads holds the lock of the output.

    Arguments:
        given: A reader and a writer for each level, if whoever has started this
            process made some.

    Attributes:
        readers: Where what is printed can be read, by level.

        aside: The ends to be written of pipes that nothing leads to, by level.
    """

    __slots__ = ("_given", "_poll", "aside", "readers")

    def __init__(self, given: Sequence[int]) -> None:
        self.readers: dict[int, int] = {}
        self.aside: dict[int, int] = {}
        self._given = [(given[at], given[at + 1]) for at in range(0, len(given), 2)]
        self._poll = select.poll()

    def add(self, level: int) -> None:
        """
        Make a pipe for what is printed to *level*; nothing leads there yet.
        """
        if self._given:
            reader, writer = self._given.pop(0)
        else:
            reader, writer = high_pipe()
            widen(writer)
        high = self.readers.get(level)
        if high is None:
            high = self.readers[level] = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 64)
            self._poll.register(high, select.POLLIN)
        else:
            # Whoever waits for the one before, by its number, waits for this one.
            os.dup2(reader, high, inheritable=False)
        os.close(reader)
        os.set_blocking(high, False)
        self.aside[level] = writer

    def lead(self) -> None:
        """
        Have descriptors that the function has closed lead to their pipes again.

        One that it has put something of its own at stays as it is.
        """
        for level, writer in list(self.aside.items()):
            copy = fcntl.fcntl(writer, fcntl.F_DUPFD, level + 1)
            if copy == level + 1:
                os.close(self.aside.pop(level))
            else:
                os.close(copy)

    def is_readable(self) -> bool:
        """
        Tell whether something was printed that was not read.
        """
        try:
            return bool(self._poll.poll(0))
        except RuntimeError:
            # Another thread asks at the same time, which it may not.
            return True


def high_pipe() -> tuple[int, int]:
    """
    Make a pipe of descriptors that no program expects anything at.
    """
    low = os.pipe()
    reader, writer = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 64) for end in low)
    for end in low:
        os.close(end)
    return reader, writer


def widen(writer: int) -> None:
    """
    Let much lie unread in the pipe of *writer*, where the system allows it.
    """
    try:
        fcntl.fcntl(writer, _F_SETPIPE_SZ, SIZE)
    except OSError:
        pass
