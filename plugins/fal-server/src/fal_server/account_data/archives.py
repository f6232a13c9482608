"""
Archives: zip files of strangers, whose index is not read before it is known to be small, and
which are not unpacked before it is known how much that gives.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Collection

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

#: The most files that are unpacked of one archive, with the directories that they are in, and
#: their bytes.
_MOST_FILES, _LARGEST_UNPACKED = 100_000, 32 << 30

#: How many times larger than their archive they may be together. That of a program or of a
#: text is below 30, and that of what deflate packs best a thousand.
_LARGEST_RATIO = 100

#: The bytes up to which the ratio does not matter, as of a few empty tables.
_SMALL = 16 << 20


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


def check_members(members: Collection[zipfile.ZipInfo], size: int) -> None:
    """
    Check that an archive of *size* bytes may be unpacked.

    What it says of its files is true: no more is read of a file than was said, and one that
    has less is refused then.

    Raises:
        Invalid: A file is packed in a way of which unpacking takes any amount of memory.

        TooLarge: It has too many files, or they are too large, or too much larger than it.
    """
    places = set[str]()
    for member in members:
        if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise Invalid(
                f"The file {member.filename[:80]!r} of the archive is not packed by deflate. "
                "Nothing else is unpacked."
            )
        place = member.filename.rstrip("/")
        while place and place not in places:
            places.add(place)
            place = place.rpartition("/")[0]
        if len(places) > _MOST_FILES:
            raise TooLarge(
                f"The archive has more than {_MOST_FILES:,} files and directories. Send it in "
                "several."
            )
    unpacked = sum(member.file_size for member in members)
    if unpacked > _LARGEST_UNPACKED:
        raise TooLarge(
            f"The files of the archive have {unpacked:,} bytes, of which at most "
            f"{_LARGEST_UNPACKED:,} are unpacked at once. Send it in several."
        )
    if unpacked > max(_SMALL, _LARGEST_RATIO * size):
        raise TooLarge(
            f"The files of the archive have {unpacked:,} bytes, and itself {size:,}: more than "
            f"{_LARGEST_RATIO} times as much as it has is not unpacked. Send the files one by "
            "one."
        )
