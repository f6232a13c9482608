"""Meters of HTTP/2 connections: what is too much, before and after a client has shown a key."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import floods
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, WindowUpdateFrame

from fal_server.listeners import http2_meters
from fal_server.listeners.http2_meters import Http2Meter, TooMuch
from fal_server.listeners.open_connections import OpenConnection

#: Floods of few frames: of each, the fields are bounded as they are decompressed, or the calls
#: are refused as they come.
FEW = {"bombs", *floods.SLOW}

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def take_all(meter: Http2Meter, parts: Iterable[bytes]) -> None:
    for part in parts:
        meter.take(part)


@pytest.mark.parametrize("name", sorted(floods.FLOODS.keys() - FEW))
@pytest.mark.parametrize("size", [1000, 1 << 18])
def test_flood_of_a_stranger_is_too_much(name: str, size: int):
    """Each flood is too much after a megabyte, in whatever pieces it comes."""
    meter = Http2Meter(OpenConnection())
    data = b"".join(itertools.islice(floods.FLOODS[name](), 70))[: 1 << 20]
    with pytest.raises(TooMuch):
        take_all(meter, (data[at : at + size] for at in range(0, len(data), size)))


@pytest.mark.parametrize(
    "name",
    ["continuations", "settings", "pings", "resets", "large_frames", "empty_messages"],
)
def test_flood_with_a_key_is_too_much(name: str):
    """Who has shown a key may do more, but not without end."""
    meter = Http2Meter(OpenConnection(is_known=True))
    with pytest.raises(TooMuch):
        take_all(meter, itertools.islice(floods.FLOODS[name](), 1000))


def test_frames_are_counted_for_a_while(monkeypatch: pytest.MonkeyPatch):
    """A client that sends little in any time may send on for ever."""
    now = [1000.0]
    monkeypatch.setattr(http2_meters.time, "monotonic", lambda: now[0])
    meter, ping = Http2Meter(OpenConnection()), PingFrame(0, b"12345678").serialize()
    meter.take(PREFACE)
    for _ in range(10):
        meter.take(ping * 500)
        now[0] += 10.0
    meter.take(ping * 500)
    with pytest.raises(TooMuch):
        meter.take(ping)


def test_large_messages_with_a_key_are_no_flood():
    """Messages, and the room for answers, are as many as a client with a key needs."""
    meter = Http2Meter(OpenConnection(is_known=True))
    part = DataFrame(1, bytes(1 << 14)).serialize()
    part += WindowUpdateFrame(1, window_increment=1).serialize()
    meter.take(PREFACE + HeadersFrame(1, b"", flags=["END_HEADERS"]).serialize())
    for _ in range(20_000):
        meter.take(part)


@pytest.mark.parametrize("size", [1, 2, 5, 9, 10, 23, 1000])
def test_frames_by_which_a_client_leaves_are_dropped(size: int):
    """In pieces of any size, all comes out that has gone in but those frames."""
    ping = PingFrame(0, b"12345678").serialize()
    leaving = GoAwayFrame(0, additional_data=b"bye").serialize()
    shorter = GoAwayFrame(0).serialize()
    data = PREFACE + leaving + ping + ping + leaving + shorter + ping
    meter, found = Http2Meter(OpenConnection()), b""
    assert not meter.has_left
    for at in range(0, len(data), size):
        found += meter.take(data[at : at + size])
    assert found == PREFACE + ping * 3
    assert meter.has_left


def test_what_a_library_sends_is_read():
    """A client that makes as many calls at once as it may is below the limit of strangers."""
    client = H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    named = [(":method", "POST"), (":path", "/x"), (":scheme", "http"), (":authority", "x")]
    for stream in range(1, 200, 2):
        client.send_headers(stream, [*named, ("x-large", "y" * 500)])
        client.send_data(stream, b"12345", end_stream=True)
        client.reset_stream(stream)
    meter = Http2Meter(OpenConnection())
    for byte in client.data_to_send():
        meter.take(bytes([byte]))
