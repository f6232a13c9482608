"""
Forms: uploads of files, in a multipart form and in parts.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from aiohttp import BodyPartReader, web

from fal_server.errors import Invalid

#: How many bytes of an upload are in memory at once.
CHUNK = 1 << 18


def part_number_of(request: web.Request) -> int:
    """
    Return the number of a part, which is in the path.

    Raises:
        Invalid: It is not a number.
    """
    text = request.match_info["number"]
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise Invalid("The number of a part must be one to five decimal digits.")
    return int(text)


def part_numbers_of(content: Mapping[str, Any], *names: str) -> Sequence[int]:
    """
    Return the numbers of the parts in *content*, from the least on: clients list them in the
    order in which they were sent.

    Arguments:
        names: The names that clients use for the number.
    """
    parts = content.get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise Invalid("'parts' must be a list of objects.")
    numbers = [next((part[name] for name in names if name in part), None) for part in parts]
    if not all(type(number) is int for number in numbers):
        raise Invalid(f"Each part must have a {names[0]!r}.")
    return sorted(int(number) for number in numbers if number is not None)


async def file_of(request: web.Request) -> AsyncIterator[bytes]:
    """
    Yield the content of the field ``file_upload`` of a form, in chunks.
    """
    if not request.content_type.startswith("multipart/"):
        raise Invalid("A part must be sent as a multipart form.")
    try:
        reader = await request.multipart()
        while (field := await reader.next()) is not None:
            if isinstance(field, BodyPartReader) and field.name == "file_upload":
                while chunk := await field.read_chunk(CHUNK):
                    yield bytes(chunk)
                return
    except (ValueError, AssertionError) as error:
        raise Invalid("The form cannot be read.") from error
    raise Invalid("The form has no field 'file_upload'.")
