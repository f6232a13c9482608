"""Forms: uploads of files, in a multipart form and in parts."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from email.message import Message
from typing import Any

import attrs
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


@attrs.frozen
class SentFile:
    """
    The file in a form.

    Attributes:
        size: How many bytes it has, if it is alone in the form and its headers are written as
            usual. None where that is not known.
    """

    chunks: AsyncIterator[bytes]
    size: int | None


async def open_file(request: web.Request) -> SentFile:
    """
    Return the field ``file_upload`` of a form, once its headers have come.

    Raises:
        Invalid: There is none. Reading chunks raises it as well.
    """
    if not request.content_type.startswith("multipart/"):
        raise Invalid("A part must be sent as a multipart form.")
    with _readable():
        reader = await request.multipart()
        while (field := await reader.next()) is not None:
            if isinstance(field, BodyPartReader) and field.name == "file_upload":
                return SentFile(_chunks_of(field), _size_of(request, field))
    raise Invalid("The form has no field 'file_upload'.")


async def file_of(request: web.Request) -> AsyncIterator[bytes]:
    """Yield the content of the field ``file_upload`` of a form, in chunks."""
    async for chunk in (await open_file(request)).chunks:
        yield chunk


async def _chunks_of(field: BodyPartReader) -> AsyncIterator[bytes]:
    with _readable():
        while chunk := await field.read_chunk(CHUNK):
            yield bytes(chunk)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (ValueError, AssertionError) as error:
        raise Invalid("The form cannot be read.") from error


def _size_of(request: web.Request, field: BodyPartReader) -> int | None:
    """Return what is left of a form without the lines around a file."""
    message = Message()
    message["Content-Type"] = request.headers.get("Content-Type", "")
    boundary = message.get_boundary()
    if request.content_length is None or boundary is None:
        return None
    headers = "".join(f"{name}: {value}\r\n" for name, value in field.headers.items())
    around = f"--{boundary}\r\n{headers}\r\n\r\n--{boundary}--\r\n"
    return max(request.content_length - len(around.encode(errors="surrogateescape")), 0)
