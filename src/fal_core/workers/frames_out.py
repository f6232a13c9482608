"""Calls as the frames that a worker is sent."""

from __future__ import annotations

import functools
import marshal
from collections import OrderedDict
from collections.abc import Iterable

from fal_core.calls import Call, SourceArchive
from fal_core.sealing.packing import pack_function
from fal_core_worker.nodes import pack_node
from fal_core_worker.stream import frames
from fal_core_worker.stream.streams import FrameStream

#: How many functions a worker keeps.
FUNCTION_SLOTS = 64


class CallSender:
    """
    Sends calls to a worker, and each source and function once.

    The worker keeps functions in numbered slots. A slot must not change between a
    FUNCTION frame and the CALL frame that uses it, so the owner sends one call at a time.
    """

    __slots__ = ("_files", "_slots", "_sources", "_stream")

    def __init__(self, stream: FrameStream) -> None:
        self._stream = stream
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._sources: set[str] = set()
        self._files: dict[str, tuple[int, int]] = {}

    def fits(self, sources: Iterable[SourceArchive]) -> bool:
        """Tell whether no file of *sources* has been sent in another version."""
        for source in sources:
            if source.digest not in self._sources:
                for name, version in list_files(source).items():
                    if self._files.get(name, version) != version:
                        return False
        return True

    def send(self, channel: int, call: Call) -> None:
        """
        Send *call* after its node, and after its sources and functions that the worker lacks.

        Raises:
            OSError: The worker is gone.

            ValueError: The stream is closed.
        """
        slot = self._slots.get(call.function.digest)
        if slot is None or call.setup is not None or call.sources:
            slot = self._send_function(call)
        count = call.batch or (frames.STREAM if call.stream else 0)
        data, buffers = call.arguments
        if call.node is not None:
            self._stream.send(frames.NODE, channel, data=pack_node(call.node))
        self._stream.send(frames.CALL, channel, slot, count, data, buffers)

    def _send_function(self, call: Call) -> int:
        for source in call.sources:
            if source.digest not in self._sources:
                self._sources.add(source.digest)
                self._files.update(list_files(source))
                data = source.digest.encode().ljust(64) + source.data
                self._stream.send(frames.SOURCES, data=data)
        key = call.function.digest
        if call.setup is not None:
            key += call.setup.digest
        slot = self._slots.get(key)
        if slot is not None:
            self._slots.move_to_end(key)
            return slot
        if len(self._slots) < FUNCTION_SLOTS:
            slot = len(self._slots)
        else:
            slot = self._slots.popitem(last=False)[1]
        packed = pack_function(call.function)
        setup = None if call.setup is None else pack_function(call.setup)
        self._stream.send(frames.FUNCTION, 0, slot, data=marshal.dumps((*packed, setup), 2))
        self._slots[key] = slot
        return slot


@functools.lru_cache(maxsize=64)
def list_files(source: SourceArchive) -> dict[str, tuple[int, int]]:
    """Return the files of an archive by name, each with its size and its checksum."""
    import io
    import zipfile

    try:
        with zipfile.ZipFile(io.BytesIO(source.data)) as archive:
            return {each.filename: (each.file_size, each.CRC) for each in archive.infolist()}
    except zipfile.BadZipFile:
        # Importing from it fails in the worker, which says so.
        return {}
