"""
Floods of gRPC: what a client without a key may send over HTTP/2, as fast as it goes.

Run as a program, each floods a server for some seconds, over a few connections at once, opens
another one where the server closes one, and prints how many bytes it has sent.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hpack import Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

#: How many connections one flood has at once, and one of calls with wrong keys.
CONNECTIONS, MANY = 8, 110

#: Seconds that a connection of a flood may take.
LONGEST_CONNECT = 20.0

#: Bytes that are sent together.
_PART = 1 << 18

_METHOD = "/controller.IsolateController/Run"


def begin(**settings: int) -> bytes:
    codes = {getattr(SettingsFrame, name): value for name, value in settings.items()}
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0, settings=codes).serialize()


def _fields(*more: tuple[str, str]) -> bytes:
    """Return the header fields of a call, which leave nothing in the table of the connection."""
    named = [
        (":method", "POST"),
        (":path", _METHOD),
        (":scheme", "http"),
        (":authority", "fal.example.com"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    ]
    return Encoder().encode([NeverIndexedHeaderTuple(*each) for each in named])


#: The header fields of a call without a key.
_FIELDS = _fields()


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """Return a frame. Those of hyperframe take longer than a server needs for them."""
    return (
        len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body
    )


def _request(stream: int, block: bytes = b"", *, ends: bool = False) -> bytes:
    return _frame(HeadersFrame.type, 0x5 if ends else 0x4, stream, block or _FIELDS)


def _together(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Join small parts, as sending each takes longer than the server needs for it."""
    joined = bytearray()
    for part in parts:
        joined += part
        if len(joined) >= _PART:
            yield bytes(joined)
            joined.clear()
    yield bytes(joined)


def _streams() -> Iterator[int]:
    return itertools.count(1, 2)


def continuations() -> Iterator[bytes]:
    """A request whose header fields never end."""
    yield begin() + HeadersFrame(1, _fields()).serialize()
    yield from itertools.repeat(ContinuationFrame(1, b"\x00" * (1 << 14)).serialize())


def empty_continuations() -> Iterator[bytes]:
    """The same with nothing in it."""
    yield begin() + HeadersFrame(1, _fields()).serialize()
    yield from itertools.repeat(ContinuationFrame(1, b"").serialize() * 10_000)


def settings() -> Iterator[bytes]:
    """Settings, each of which is to be acknowledged."""
    yield begin()
    yield from itertools.repeat(SettingsFrame(0, settings={4: 1 << 16}).serialize() * 10_000)


def pings() -> Iterator[bytes]:
    """Pings, each of which is to be answered."""
    yield begin()
    yield from itertools.repeat(PingFrame(0, b"12345678").serialize() * 10_000)


def resets() -> Iterator[bytes]:
    """Calls that are cancelled in the same moment."""
    yield begin()
    yield from _together(
        _request(stream) + _frame(RstStreamFrame.type, 0, stream, b"\0\0\0\x08")
        for stream in _streams()
    )


def endless_streams() -> Iterator[bytes]:
    """Calls that never have a message."""
    yield begin()
    yield from _together(map(_request, _streams()))


def closed_windows() -> Iterator[bytes]:
    """Calls whose answers have no room."""
    block = _fields(("auth-key-id", "nobody"), ("auth-key", "wrong"))
    yield begin(INITIAL_WINDOW_SIZE=0)
    yield from _together(
        _request(stream, block) + _frame(DataFrame.type, 0x1, stream, bytes(5))
        for stream in _streams()
    )


def bombs() -> Iterator[bytes]:
    """Header fields that are one byte each, and 4000 once they are decompressed."""
    encoder = Encoder()
    large = encoder.encode([HeaderTuple("x-large", "x" * 4000)])
    index = encoder.encode([HeaderTuple("x-large", "x" * 4000)])
    yield begin()
    yield _request(1, _fields() + large)
    yield from _together(
        _request(stream, _FIELDS + index * 15_000) for stream in itertools.count(3, 2)
    )


def large_frames() -> Iterator[bytes]:
    """A frame of 16 MB, of a type that nobody knows."""
    yield begin() + b"\xff\xff\xff\xaa\x00" + bytes(4)
    yield from itertools.repeat(bytes(1 << 18))


def empty_messages() -> Iterator[bytes]:
    """A call with endless parts of a message, all of which are empty."""
    yield begin() + _request(1)
    yield from itertools.repeat(DataFrame(1, b"").serialize() * 10_000)


def window_updates() -> Iterator[bytes]:
    """More and more room for answers."""
    yield begin()
    yield from itertools.repeat(WindowUpdateFrame(0, window_increment=1).serialize() * 10_000)


def slow_calls() -> Iterator[bytes]:
    """Calls without a key at a pace that nothing forbids."""
    yield begin()
    for stream in _streams():
        time.sleep(0.02)
        yield _request(stream, ends=True)


def wrong_keys() -> Iterator[bytes]:
    """As many calls with wrong keys as a connection may have, again and again."""
    yield begin()
    for first in itertools.count(1, 200):
        streams = range(first, first + 200, 2)
        blocks = (
            _fields(("auth-key-id", f"nobody{stream}"), ("auth-key", "wrong"))
            for stream in streams
        )
        yield b"".join(
            _request(stream, block, ends=True)
            for stream, block in zip(streams, blocks, strict=True)
        )
        time.sleep(2.1)


#: Floods of few frames, at a pace that nothing forbids.
SLOW = {"slow_calls", "wrong_keys"}

FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    flood.__name__: flood
    for flood in (
        continuations,
        empty_continuations,
        settings,
        pings,
        resets,
        endless_streams,
        closed_windows,
        bombs,
        large_frames,
        empty_messages,
        window_updates,
        slow_calls,
        wrong_keys,
    )
}


def read_frames(data: bytes) -> Iterator[Frame]:
    """Yield the whole frames that a server has sent."""
    while len(data) >= 9:
        frame, size = Frame.parse_frame_header(memoryview(data[:9]))
        if len(data) < 9 + size:
            return
        frame.parse_body(memoryview(data[9 : 9 + size]))
        data = data[9 + size :]
        yield frame


def send(connection: socket.socket, parts: Iterator[bytes], until: float, reads: bool) -> int:
    """Send *parts* until the server closes the connection, and return how many bytes went."""
    sent = 0
    connection.settimeout(0.5)
    with contextlib.suppress(OSError):
        for part in parts:
            view = memoryview(part)
            while view:
                if time.monotonic() > until:
                    return sent
                if reads:
                    connection.setblocking(False)
                    with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
                        while connection.recv(1 << 18):
                            pass
                    connection.settimeout(0.5)
                try:
                    done = connection.send(view[:_PART])
                except TimeoutError:
                    # The server reads no more, which ends nothing.
                    continue
                sent += done
                view = view[done:]
    return sent


def flood(name: str, port: int, seconds: float, authority: str = "", *, reads: bool) -> int:
    """Flood the server at *port* of this machine, and return how many bytes went."""
    until, total = time.monotonic() + seconds, 0
    latest = until + LONGEST_CONNECT
    context = ssl.create_default_context(cafile=authority) if authority else None
    if context is not None:
        context.set_alpn_protocols(["h2"])
    # On a machine that is busy it may take long until the first one is connected.
    while time.monotonic() < until or (not total and time.monotonic() < latest):
        try:
            plain = socket.create_connection(("127.0.0.1", port), timeout=LONGEST_CONNECT)
            with plain:
                made = (
                    context.wrap_socket(plain, server_hostname="localhost")
                    if context
                    else plain
                )
                with made:
                    until = max(until, 0 if total else time.monotonic() + 0.5)
                    total += send(made, FLOODS[name](), until, reads)
        except OSError:
            time.sleep(0.01)
    return total


def start_flood(
    name: str, port: int, seconds: float, authority: str = ""
) -> subprocess.Popen[bytes]:
    """Flood a server from a process of its own."""
    command = [sys.executable, str(Path(__file__)), name, str(port), str(seconds), authority]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def main(name: str, port: str, seconds: str, authority: str = "") -> None:
    """Flood a server over a few connections, half of which are never read from."""
    totals: list[int] = []

    def run(number: int) -> None:
        totals.append(flood(name, int(port), float(seconds), authority, reads=number % 2 == 0))

    count = MANY if name == wrong_keys.__name__ else CONNECTIONS
    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sum(totals))


if __name__ == "__main__":
    main(*sys.argv[1:])
