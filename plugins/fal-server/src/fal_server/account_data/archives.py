"""
Archives: zip files of strangers, whose index is not read before it is known to be small.
"""

from __future__ import annotations

import os
import struct

from fal_server.errors import Invalid, TooLarge

#: The end of an archive, without its comment: where its index is, and how long.
_END = struct.Struct("<4s4H2LH")

#: Where the end of a large archive is, and that end itself.
_LOCATOR, _LARGE_END = struct.Struct("<4sLQL"), struct.Struct("<4sQ2H2L4Q")

#: What a number is in the end of an archive that has another one for large numbers.
_ELSEWHERE = 0xFFFFFFFF

_LONGEST_COMMENT = 0xFFFF

#: The largest index, in bytes: that of some hundred thousand files. It takes several times as
#: much memory.
_LARGEST = 16 << 20


def check_index(path: str) -> None:
    """
    Check that the index of a zip archive may be read into memory.

    Raises:
        Invalid: The file is no zip archive.

        TooLarge: Its index is too large.
    """
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _END.size - _LONGEST_COMMENT - _LOCATOR.size)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < _END.size:
            raise Invalid("The file is no zip archive.")
        length = _END.unpack_from(tail, at)[5]
        before = at - _LOCATOR.size
        if before >= 0 and tail[before : before + 4] == b"PK\x06\x07":
            # That is where it is read from, wherever the locator says that it is.
            there = start + before - _LARGE_END.size
            file.seek(max(0, there))
            end = file.read(_LARGE_END.size)
            said = _LOCATOR.unpack_from(tail, before)[2]
            if said != there or not end.startswith(b"PK\x06\x06"):
                raise Invalid("The file is no zip archive.")
            length = max(length if length != _ELSEWHERE else 0, _LARGE_END.unpack(end)[8])
    if length > _LARGEST:
        raise TooLarge("The archive has too many files. Send it in several.")
