"""Messages of a route: from frames to inputs, and from outputs to frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.answering.batches import Batched
from fal_serve.declaring.signatures import batch_parameter, leads_batch
from fal_serve.realtime_sessions.codecs import (
    MessageError,
    codec_of,
    decode,
    dump,
    type_adapter,
)
from fal_serve.realtime_sessions.refusals import UNREADABLE, Refused, invalid
from fal_serve.realtime_sessions.sessions import RealtimeRoute

Decoder = Callable[["bytes | str"], Any]


def make_route(
    handler: Callable[..., Any], signature: RouteSignature, batch_wait: float
) -> RealtimeRoute:
    """Return what the sessions of a route share."""
    together = None
    leads = leads_batch(handler)
    if batch_parameter(handler) is not None and not leads:
        together = Batched(handler, max_batch_size=signature.max_batch_size, wait=batch_wait)
    writes, reads = codec_of(signature)
    read = _read_msgpack if reads is decode else _reader(reads)
    return RealtimeRoute(
        signature,
        handler,
        together,
        leads_batch=leads,
        decode=_checked(read, signature.input_modal),
        encode=writes if signature.encode_message is None else _writer(writes),
    )


def _read_msgpack(data: bytes | str) -> Any:
    if isinstance(data, str):
        raise Refused(
            "INVALID_MESSAGE",
            "Received a text frame; messages are msgpack, in binary frames.",
            UNREADABLE,
        )
    try:
        return decode(data)
    except MessageError as error:
        raise Refused("INVALID_MESSAGE", str(error), UNREADABLE) from error


def _writer(own: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    return lambda output: own(dump(output))


def _reader(own: Callable[[bytes], Any]) -> Decoder:
    def read(data: bytes | str) -> Any:
        try:
            # A client may send text frames if the codec makes text, as JSON does.
            return own(data.encode() if isinstance(data, str) else data)
        except ValidationError as error:
            raise invalid(error) from error
        except ValueError as error:
            reason = f"The message cannot be read: {error}"
            raise Refused("INVALID_MESSAGE", reason, UNREADABLE) from error

    return read


def _checked(read: Decoder, modal: Any) -> Decoder:
    """Return a decoder that also validates the input against *modal*."""
    if modal is None:
        return read
    check = type_adapter(modal).validator.validate_python

    def read_checked(data: bytes | str) -> Any:
        try:
            return check(read(data))
        except ValidationError as error:
            raise invalid(error) from error

    return read_checked
