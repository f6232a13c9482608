"""
Channels: the descriptors of a worker, and how they reach it.

A worker whose interpreter lets any descriptor through has its stream as its standard
streams. Where another program stands between, such as a container engine, that program has
standard streams of its own, and what it prints is kept apart from the stream.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from fal_core.environments import Channel
from fal_core.workers import ARGUMENTS, arguments_for

if TYPE_CHECKING:
    from fal_host_local.workers.sockets import Handover

#: The number of the first descriptor that is passed on.
_FIRST = 3


class Wiring:
    """
    The descriptors of a worker that starts.

    Arguments:
        channel: How its interpreter lets it be spoken to.

        stream: The worker's end of its stream.

    Attributes:
        stream: The number that the stream has in the worker; 0 for standard input and
            output.

        arguments: What the Python is started with.

        first: The number that the first of the descriptors has in the worker which
            :meth:`add` takes. None where none reaches it.

        binds: Directories that the process must see.

        words: The descriptor that what the program around the worker prints is read from.
            None where there is no such program.
    """

    def __init__(self, channel: Channel, stream: int) -> None:
        self._channel = channel
        self._stream = stream
        self.stream = 0 if channel in ("inherited", "streams") else _FIRST
        self._added: list[int] = []
        self._printed = -1
        self._null = -1
        self._handover: Handover | None = None
        self.arguments: Sequence[str] = ARGUMENTS
        self.first: int | None = _FIRST
        self.binds: dict[str, str] = {}
        self.words: int | None = None
        if channel == "inherited":
            return
        self.words, self._printed = os.pipe()
        if channel == "streams":
            self.first = None
            return
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.first = _FIRST + 1
        if channel == "passed":
            self.arguments = arguments_for(_FIRST)
            return
        from fal_host_local.workers.sockets import Handover

        self._handover = Handover()
        self.binds[self._handover.folder] = self._handover.folder
        self.arguments = arguments_for(self._handover.path)

    @property
    def is_apart(self) -> bool:
        """Whether a program stands between the keeper and the worker."""
        return self._channel != "inherited"

    @property
    def count(self) -> int:
        """How many descriptors have to be passed on."""
        return 1 + len(self._added) if self._channel == "passed" else 0

    def add(self, descriptors: Sequence[int]) -> tuple[int, ...]:
        """Give the worker *descriptors* too, and return the numbers that they have there."""
        assert self.first is not None
        first = self.first + len(self._added)
        self._added += descriptors
        return tuple(range(first, first + len(descriptors)))

    def given(self) -> tuple[list[int], list[int]]:
        """Return descriptors for the keeper, and which of them the process has from 0 on."""
        if self._channel == "inherited":
            return [self._stream, *self._added], [0, 0, *range(1 + len(self._added))]
        if self._channel == "streams":
            return [self._stream, self._printed], [0, 0, 1]
        if self._channel == "socket":
            return [self._null, self._printed], [0, 1, 1]
        passed = [self._stream, *self._added]
        return [self._null, self._printed, *passed], [0, 1, 1, *range(2, 2 + len(passed))]

    def hand_over(self, has_ended: Callable[[], bool]) -> None:
        """
        Give the worker its descriptors once it asks for them, where they are not inherited.

        Arguments:
            has_ended: Returns whether the process has.
        """
        if self._handover is not None:
            self._handover.begin([self._stream, *self._added], has_ended)
            self._handover = None

    def close_given(self) -> None:
        """Close what only the process needs, which has been started, or cannot be."""
        for descriptor in (self._printed, self._null):
            if descriptor >= 0:
                os.close(descriptor)
        self._printed = self._null = -1
        if self._handover is not None:
            self._handover.close()
            self._handover = None

    def close(self) -> None:
        """Close what is open at this end."""
        words, self.words = self.words, None
        if words is not None:
            with suppress(OSError):
                os.close(words)
