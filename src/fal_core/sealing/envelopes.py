"""
Calls as bytes, for hosts that send them to another process or machine.

Layout, little endian: ``FALC``, version u32, length of the header u64, the header
as JSON, then each blob after its length u64. The header refers to blobs by number.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import attrs

from fal_core.calls import ENVELOPE_VERSION, Call, SealedFunction, SourceArchive
from fal_core.declaring.typed_options import restore, unstructure
from fal_core.declaring.vocabulary import restore_environment, unstructure_environment
from fal_core.errors import FalSerializationError, OptionError
from fal_core.events import Sealed
from fal_core.options import Gateway, HostOptions

MAGIC = b"FALC"
OLDEST_VERSION = max(1, ENVELOPE_VERSION - 1)

_HEAD = struct.Struct("<4sIQ")
_LENGTH = struct.Struct("<Q")
_PLAIN = (
    *("id", "name", "batch", "stream", "application_name", "application_auth_mode"),
    *("lifetime", "timeout", "retries", "traceparent", "owner", "origin"),
    *("takes_socket", "own_network", "reached_ports", "folders", "node"),
)


def encode_call(call: Call) -> bytes:
    """Return *call* as bytes. Secrets are among them by name only, without their values."""
    blobs: list[Any] = []
    header = {name: getattr(call, name) for name in _PLAIN}
    header["environment"] = unstructure_environment(call.environment)
    header["host_options"] = unstructure(call.host_options)
    header["gateway"] = unstructure(call.gateway)
    header["arguments"] = _write_sealed(call.arguments, blobs)
    header["function"] = _write_function(call.function, blobs)
    header["setup"] = call.setup and _write_function(call.setup, blobs)
    header["sources"] = [
        {"digest": source.digest, "data": _write(source.data, blobs)} for source in call.sources
    ]
    text = json.dumps(header, separators=(",", ":")).encode()
    parts: list[bytes | memoryview] = [_HEAD.pack(MAGIC, call.version, len(text)), text]
    for blob in blobs:
        view = memoryview(blob).cast("B")
        parts += [_LENGTH.pack(view.nbytes), view]
    return b"".join(parts)


def decode_call(data: Any, *, options: type[HostOptions] = HostOptions) -> Call:
    """
    Return the call that :func:`encode_call` wrote as *data*.

    Large buffers are not copied: *data* stays in memory as long as the call.

    Arguments:
        options: The options class of the host that is to run it; options of other hosts
            are left out.

    Raises:
        FalSerializationError: *data* is no call, or one of another version.

        OptionError: The kind of its environment is not installed here.
    """
    try:
        header, blobs = _split(memoryview(data).cast("B"))
        return _read_call(header, blobs, options)
    except OptionError:
        raise
    except (struct.error, ValueError, KeyError, IndexError, TypeError) as error:
        raise FalSerializationError(
            f"The bytes are not a whole call: {type(error).__name__}: {error}"
        ) from error


def _split(data: memoryview) -> tuple[dict[str, Any], list[memoryview]]:
    magic, version, size = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise ValueError("they do not start as one")
    if not OLDEST_VERSION <= version <= ENVELOPE_VERSION:
        raise FalSerializationError(
            f"The call is of version {version}, and this fal-core reads versions "
            f"{OLDEST_VERSION} to {ENVELOPE_VERSION}: update the older of the two."
        )
    position = _HEAD.size + size
    header = json.loads(bytes(data[_HEAD.size : position]))
    header["version"] = version
    blobs = []
    while position < len(data):
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        if position + length > len(data):
            raise ValueError("they end early")
        blobs.append(data[position : position + length])
        position += length
    return header, blobs


def _read_call(
    header: dict[str, Any], blobs: list[memoryview], options: type[HostOptions]
) -> Call:
    known = {field.alias for field in attrs.fields(options)}
    written = {name: value for name, value in header["host_options"].items() if name in known}
    return Call(
        **{name: header[name] for name in _PLAIN if name in header},
        function=_read_function(header["function"], blobs),
        setup=header["setup"] and _read_function(header["setup"], blobs),
        arguments=_read_sealed(header["arguments"], blobs),
        environment=restore_environment(header["environment"]),
        host_options=restore(options, written),
        gateway=restore(Gateway, header["gateway"]),
        sources=tuple(
            SourceArchive(source["digest"], bytes(blobs[source["data"]]))
            for source in header["sources"]
        ),
        version=header["version"],
    )


def _write(blob: Any, blobs: list[Any]) -> int:
    blobs.append(blob)
    return len(blobs) - 1


def _write_sealed(sealed: Sealed, blobs: list[Any]) -> dict[str, Any]:
    return {
        "data": _write(sealed.data, blobs),
        "buffers": [_write(buffer, blobs) for buffer in sealed.buffers],
    }


def _write_function(function: SealedFunction, blobs: list[Any]) -> dict[str, Any]:
    portable = function.portable
    return {
        "digest": function.digest,
        "native": _write_sealed(function.native, blobs),
        "portable": None if portable is None else _write_sealed(portable, blobs),
        "refusal": function.refusal,
    }


def _read_sealed(written: Mapping[str, Any], blobs: list[memoryview]) -> Sealed:
    buffers = tuple(blobs[number] for number in written["buffers"])
    return Sealed(bytes(blobs[written["data"]]), buffers)


def _read_function(written: Mapping[str, Any], blobs: list[memoryview]) -> SealedFunction:
    portable = written["portable"]
    return SealedFunction(
        digest=written["digest"],
        native=_read_sealed(written["native"], blobs),
        portable=None if portable is None else _read_sealed(portable, blobs),
        refusal=written["refusal"],
    )
