"""
Events as bytes: the records of a journal, without their lengths. Messages likewise.

A record is the length of a text in four bytes, little endian, and the text, which is JSON with
the name and the fields of an event. Long texts, and values that functions have made, follow it
as bytes.

A process that runs a function may be able to write to its journal. So what is read is an event
with fields of the right types, or an error, and takes no more memory than its bytes.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, get_args

import attrs

from fal_core.errors import HostError
from fal_core.events import (
    Credit,
    Event,
    Exited,
    HomeCall,
    Item,
    Level,
    Log,
    Message,
    Outcome,
    Phase,
    Ready,
    Reply,
    Returned,
    Sealed,
    Source,
    Started,
    State,
)
from fal_core.sinks.dropped_lines import UnreadableRecord, read_dropped
from fal_core_worker.opening.seals import PREFIX_SIZE

#: The length of the text.
TEXT_LENGTH = struct.Struct("<I")
#: The longest text of a record, in bytes: what JSON is read into is many times as large.
LONGEST_TEXT = 1 << 20
#: Characters of a text that stands in the JSON; a longer one follows it.
_SHORT = 1000
#: The largest number of an event.
_MOST = 1 << 53
#: The types of fields that are JSON as they are, beside texts.
_PLAIN = frozenset((type(None), bool, int, float))
#: Returns the value that a text begins with, and where that ends. 'json.loads' takes three
#: times as long, as it looks for an encoding and for spaces around the value.
_parse_json = json.JSONDecoder().raw_decode


def encode_event(event: Event) -> bytes:
    """Return *event* as bytes."""
    return _encode_fields(event)


def decode_event(data: bytes) -> Event:
    """
    Return the event that *data*, made by :func:`encode_event`, holds.

    Raises:
        UnreadableRecord: It holds none.
    """
    event: Event = _decode(data, _EVENTS)
    return event


def encode_message(message: Message) -> bytes:
    """Return what is sent to an execution as bytes, with copies of its buffers."""
    return _encode_fields(message)


def decode_message(data: bytes) -> Message:
    """
    Return the message that *data*, made by :func:`encode_message`, holds.

    Raises:
        UnreadableRecord: It holds none.
    """
    message: Message = _decode(data, _MESSAGES)
    return message


def _decode(data: bytes, known: _Known) -> Any:
    """Return what *data* holds, which is one of those *known*."""
    try:
        at = TEXT_LENGTH.size + TEXT_LENGTH.unpack_from(data)[0]
        text = data[TEXT_LENGTH.size : at].decode()
        (name, values, sizes), end = _parse_json(text)
        if end != len(text):
            raise UnreadableRecord("a record has more text than its JSON")
        blobs: list[bytes] = []
        for size in sizes:
            blobs.append(data[at : at + _number(size, blobs)])
            at += size
        if at != len(data):
            raise UnreadableRecord("a record has another length than its text says")
        make, readers = known[name]
        if len(values) > len(readers):
            raise UnreadableRecord("a record has more fields than its event")
        read_values = [read(value, blobs) for read, value in zip(readers, values, strict=False)]
        return make(*read_values)
    except UnreadableRecord:
        raise
    except (LookupError, RecursionError, TypeError, ValueError, struct.error) as error:
        raise UnreadableRecord(f"a record is no event: {type(error).__name__}") from error


# -- writing -------------------------------------------------------------------------


def _encode_fields(event: Event | Message) -> bytes:
    blobs: list[bytes] = []
    values = []
    for field in attrs.fields(type(event)):
        value = getattr(event, field.name)
        values.append(value if type(value) in _PLAIN else _encode(value, blobs))
    text = json.dumps([type(event).__name__, values, [*map(len, blobs)]]).encode()
    return b"".join((TEXT_LENGTH.pack(len(text)), text, *blobs))


def _encode(value: Any, blobs: list[bytes]) -> Any:
    if isinstance(value, str):
        if len(value) <= _SHORT:
            return value
        blobs.append(value.encode("utf-8", "surrogatepass"))
        return {"text": len(blobs) - 1}
    if isinstance(value, Sealed):
        blobs += (bytes(value.data), *map(bytes, value.buffers))
        # The number of its data among the blobs, and how many buffers follow it.
        return [len(blobs) - 1 - len(value.buffers), len(value.buffers)]
    if isinstance(value, HostError):
        return _encode_error(value, blobs)
    return dict(value) if isinstance(value, Mapping) else value


def _encode_error(error: HostError, blobs: list[bytes]) -> tuple[Any, ...]:
    """Return the module and name of the error's class, its facts and its sentence."""
    kind = type(error)
    facts = error.args if all(map(_is_plain, error.args)) else ()
    if len(repr(facts)) > LONGEST_TEXT // 16:
        facts = ()
    return kind.__module__, kind.__qualname__, facts, _encode(str(error), blobs)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (int, float, str, bool)


# -- reading: each takes the value of one field, and the blobs of its record ----------

_Reader = Callable[[Any, list[bytes]], Any]
#: What makes the object of each name, and the readers of its fields.
_Known = dict[str, tuple[Callable[..., Any], tuple[_Reader, ...]]]


def _text(value: Any, blobs: list[bytes]) -> str:
    if type(value) is dict:
        at = _number(value["text"], blobs)
        data, blobs[at] = blobs[at], b""
        if not data:
            # Many texts of the same bytes would take far more memory than those.
            raise UnreadableRecord("a long text has no bytes, or those of another one")
        return data.decode("utf-8", "surrogatepass")
    if type(value) is not str:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of a text")
    return value


def _number(value: Any, _: list[bytes]) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of a number")
    return value


def _code(value: Any, _: list[bytes]) -> int:
    if type(value) is not int or abs(value) > _MOST:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of a code")
    return value


def _time(value: Any, _: list[bytes]) -> float:
    # Not with 'isfinite', which fails for numbers that are too large for it.
    if type(value) not in (int, float) or not -_MOST <= value <= _MOST:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of a time")
    return float(value)


def _truth(value: Any, _: list[bytes]) -> bool:
    if type(value) is not bool:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of a truth value")
    return value


def _texts(value: Any, blobs: list[bytes]) -> dict[str, str]:
    if type(value) is not dict:
        raise UnreadableRecord(f"{type(value).__name__} stands in place of texts")
    return {_text(name, blobs): _text(each, blobs) for name, each in value.items()}


def _sealed(value: Any, blobs: list[bytes]) -> Sealed:
    first, count = (_number(number, blobs) for number in value)
    data, *buffers = blobs[first : first + 1 + count]
    if len(buffers) != count or len(data) < PREFIX_SIZE:
        raise UnreadableRecord("a value is cut short")
    return Sealed(data, tuple(buffers))


def _error(value: Any, blobs: list[bytes]) -> HostError:
    """
    Return the error itself if its class is loaded here, otherwise a HostError of its sentence.

    Nothing is imported for a journal.
    """
    module, name, facts, sentence = value
    sentence = _text(sentence, blobs)
    kind = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    if isinstance(kind, type) and issubclass(kind, HostError):
        try:
            error = kind(*map(_as_tuples, facts))
            if str(error) == sentence:
                return error
        except Exception:
            # The facts are not those of this class.
            return HostError(sentence)
    return HostError(sentence)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _one_of(literal: Any) -> _Reader:
    known = get_args(literal)

    def read(value: Any, _: list[bytes]) -> str:
        if value not in known:
            raise UnreadableRecord(f"{value!r:.40} is none of {', '.join(known)}")
        return str(value)

    return read


def _or_none(read: _Reader) -> _Reader:
    return lambda value, blobs: None if value is None else read(value, blobs)


_EVENTS: _Known = {
    "State": (State, (_one_of(Phase),)),
    "Log": (
        Log,
        (
            _text,
            _one_of(Level),
            _one_of(Source),
            _time,
            _or_none(_text),
            _or_none(_text),
            _truth,
            _or_none(_text),
            _or_none(_number),
        ),
    ),
    "Dropped": (read_dropped, (_number, _time)),
    "Item": (Item, (_sealed, _number, _number)),
    "Started": (Started, (_number,)),
    "Returned": (Returned, (_number,)),
    "Ready": (Ready, (_texts,)),
    "HomeCall": (HomeCall, (_number, _sealed)),
    "Outcome": (Outcome, (_sealed, _truth)),
    "Exited": (Exited, (_or_none(_code), _or_none(_code), _or_none(_error))),
}
_MESSAGES: _Known = {
    "Reply": (Reply, (_number, _sealed, _truth)),
    "Credit": (Credit, (_number,)),
}
