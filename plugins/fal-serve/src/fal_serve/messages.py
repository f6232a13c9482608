"""
Messages: from frames to inputs, and from outputs to frames, as a route has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.batches import Batched
from fal_serve.codecs import MessageError, codec_of, decode, dump
from fal_serve.modals import type_adapter
from fal_serve.refusals import UNREADABLE, Refused, invalid
from fal_serve.sessions import Conversation
from fal_serve.signatures import batch_parameter

Decoder = Callable[["bytes | str"], Any]


def converse(
    handler: Callable[..., Any], signature: RouteSignature, batch_wait: float
) -> Conversation:
    """
    Return what the sessions of a route share.
    """
    together = None
    if batch_parameter(handler) is not None:
        together = Batched(handler, max_batch_size=signature.max_batch_size, wait=batch_wait)
    writes, reads = codec_of(signature)
    read = _read_msgpack if reads is decode else _reader(reads)
    return Conversation(
        signature,
        handler,
        together,
        decode=_checked(read, signature.input_modal),
        encode=writes if signature.encode_message is None else _writer(writes),
    )


def _read_msgpack(data: bytes | str) -> Any:
    if isinstance(data, str):
        raise Refused(
            "INVALID_MESSAGE",
            "A text frame came; messages are msgpack, in binary frames.",
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
            # A client may well send text for a codec that makes text, such as JSON.
            return own(data.encode() if isinstance(data, str) else data)
        except ValidationError as error:
            raise invalid(error) from error
        except ValueError as error:
            reason = f"The message cannot be read: {error}"
            raise Refused("INVALID_MESSAGE", reason, UNREADABLE) from error

    return read


def _checked(read: Decoder, modal: Any) -> Decoder:
    """
    Return *read* with a check of the input against *modal*.
    """
    if modal is None:
        return read
    check = type_adapter(modal).validator.validate_python

    def read_checked(data: bytes | str) -> Any:
        try:
            return check(read(data))
        except ValidationError as error:
            raise invalid(error) from error

    return read_checked
