"""
Authorities: what is read of an HTTP/2 connection, and what is passed on of it.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived
from hpack import Decoder, Encoder
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame, PingFrame

from fal_server.listeners import authorities
from fal_server.listeners.authorities import AuthorityMarks
from fal_server.listeners.open_connections import OpenConnection

#: The key of marks, and what clients begin with.
KEY, PREFACE = "fal-core-authority-x", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture
def visit() -> OpenConnection:
    return OpenConnection(is_known=True)


@pytest.fixture
def marks(visit: OpenConnection) -> AuthorityMarks:
    return AuthorityMarks(KEY, visit)


def fields_of(host: str, *more: tuple[str, str], name: str = ":authority") -> Any:
    pseudo = [(":method", "POST"), (":path", "/Method"), (":scheme", "http")]
    named = [(name, host)]
    return [*named, *pseudo, *more] if name[0] == ":" else [*pseudo, *named, *more]


def requests(*hosts: str, encoder: Encoder | None = None) -> bytes:
    """
    Return what a client sends that makes one request of each host.
    """
    encoder = encoder or Encoder()
    frames = [
        HeadersFrame(2 * number + 1, encoder.encode(fields_of(host)), flags=["END_HEADERS"])
        for number, host in enumerate(hosts)
    ]
    return PREFACE + b"".join(each.serialize() for each in frames)


def frames_in(data: bytes) -> Iterator[Frame]:
    """
    Yield the frames that a client has sent.
    """
    assert data.startswith(PREFACE)
    rest = data[len(PREFACE) :]
    while rest:
        frame, length = Frame.parse_frame_header(memoryview(rest[:9]))
        assert len(rest) >= 9 + length
        frame.parse_body(memoryview(rest[9 : 9 + length]))
        rest = rest[9 + length :]
        yield frame


def marks_in(data: bytes) -> list[str | None]:
    """
    Return the mark of each request that the gRPC server gets.
    """
    decoder, found, fields = Decoder(), [], b""
    for frame in frames_in(data):
        if isinstance(frame, HeadersFrame | ContinuationFrame):
            fields += frame.data
            if "END_HEADERS" in frame.flags:
                found.append(dict(decoder.decode(fields)).get(KEY))
                fields = b""
    return found


def in_pieces(marks: AuthorityMarks, data: bytes, size: int) -> bytes:
    return b"".join(marks.take(data[at : at + size]) for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 2, 7, 9, 64, 1 << 20])
def test_each_request_has_the_mark_of_its_host(visit: OpenConnection, size: int):
    """
    Requests of several hosts over one connection are told apart, in whatever pieces they
    come, and everything else arrives as it was sent.
    """
    client = H2Connection(H2Configuration(client_side=True))
    server = H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    sent = client.data_to_send()
    hosts = ["a.example:8443", "b.example", "a.example:8443", "[::1]:6001", "10.0.0.5:8000"]
    for number, host in enumerate(hosts):
        stream = 2 * number + 1
        client.send_headers(
            stream,
            fields_of(host, ("x-number", str(number))),
            priority_weight=16 if number % 2 else None,
        )
        client.send_data(stream, bytes([number]) * 1000, pad_length=number or None)
        client.ping(b"12345678")
        client.end_stream(stream)
        sent += client.data_to_send()
    events = server.receive_data(in_pieces(AuthorityMarks(KEY, visit), sent, size))
    got = [dict(each.headers) for each in events if isinstance(each, RequestReceived)]
    assert [each[KEY.encode()].decode() for each in got] == hosts
    assert [each[b":authority"].decode() for each in got] == hosts
    assert [each[b"x-number"].decode() for each in got] == list("01234")
    bodies = [each.data for each in events if isinstance(each, DataReceived) and each.data]
    assert bodies == [bytes([number]) * 1000 for number in range(5)]


def test_block_of_several_frames(marks: AuthorityMarks):
    """
    A header block may be in many frames, the first of which is padded and has a priority.
    """
    block = Encoder().encode(fields_of("a.example"))
    first = HeadersFrame(
        1, block[:3], pad_length=200, depends_on=0, flags=["PADDED", "PRIORITY", "END_STREAM"]
    )
    frames = [first, *(ContinuationFrame(1, bytes([byte])) for byte in block[3:])]
    frames.append(ContinuationFrame(1, b"", flags=["END_HEADERS"]))
    data = PREFACE + b"".join(each.serialize() for each in frames)
    passed = b""
    for byte in data[:-1]:
        passed += marks.take(bytes([byte]))
    assert passed == PREFACE
    passed += marks.take(data[-1:])
    assert marks_in(passed) == ["a.example"]
    got = next(frames_in(passed))
    assert {"PADDED", "PRIORITY", "END_STREAM"} <= set(got.flags)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "a.example/path",
        "user@a.example",
        "a" * 300,
        "a.example:port",
        "a.example:65536",
        "höst.example",
        "a.example\r\nx: y",
        "rest.fal.ai",
    ],
)
def test_names_that_are_no_hosts_are_not_added(marks: AuthorityMarks, host: str):
    """
    Only what can be a host becomes a mark, and not what leads a single client here.
    """
    data = requests(host, "b.example")
    passed = marks.take(data)
    assert marks_in(passed) == [None, "b.example"]
    assert passed.startswith(data[:-20])


def test_host_of_a_request_without_authority(marks: AuthorityMarks):
    """
    Where there is no authority, the field ``host`` says the same; two of them say nothing.
    """
    encoder, sent = Encoder(), PREFACE
    for number, fields in enumerate(
        (
            fields_of("a.example", name="host"),
            fields_of("a.example", (":authority", "b.example")),
            [(":path", "/")],
            fields_of("a.example", ("host", "b.example")),
        )
    ):
        frame = HeadersFrame(2 * number + 1, encoder.encode(fields), flags=["END_HEADERS"])
        sent += frame.serialize()
    assert marks_in(marks.take(sent)) == ["a.example", None, None, "a.example"]


def test_mark_of_the_client_itself(marks: AuthorityMarks):
    """
    A client that guesses some key of a mark sends metadata as any other.
    """
    fields = fields_of("a.example", ("fal-core-authority-y", "evil.example"))
    frame = HeadersFrame(1, Encoder().encode(fields), flags=["END_HEADERS"])
    assert marks_in(marks.take(PREFACE + frame.serialize())) == ["a.example"]


def broken() -> dict[str, list[bytes]]:
    """
    Return frames that cannot be read, in the parts in which they come, by what is wrong.
    """
    begun = HeadersFrame(1, Encoder().encode(fields_of("a.example"))).serialize()
    many = ContinuationFrame(1, b"").serialize()
    padded = bytearray(
        HeadersFrame(1, b"12", pad_length=9, flags=["PADDED", "END_HEADERS"]).serialize()
    )
    padded[9] = 200
    # One field of 4000 bytes, and a byte for each time that it is repeated.
    bomb = Encoder().encode([("x", "y" * 4000)], huffman=False) + b"\xbe" * 20_000
    huge = HeadersFrame(1, bytes(1 << 14)).serialize()
    return {
        "another stream": [begun, ContinuationFrame(3, b"", flags=["END_HEADERS"]).serialize()],
        "another frame": [begun, DataFrame(1, b"data").serialize()],
        "another block": [begun, begun],
        "no block": [many],
        "stream 0": [b"\0\0\0\1\4\0\0\0\0"],
        "padding": [bytes(padded)],
        "index": [HeadersFrame(1, b"\xff\xff\xff\x7f", flags=["END_HEADERS"]).serialize()],
        "integer": [HeadersFrame(1, b"\xff" * 16_000, flags=["END_HEADERS"]).serialize()],
        "cut off": [HeadersFrame(1, b"\x40\x7fa", flags=["END_HEADERS"]).serialize()],
        "bomb": [HeadersFrame(1, bomb, flags=["END_HEADERS"]).serialize()],
        "table": [HeadersFrame(1, b"\x3f\xff\xff\x7f", flags=["END_HEADERS"]).serialize()],
        "length": [b"\xff\xff\xff\1\4\0\0\0\1", bytes(100)],
        "endless": [huge, *[ContinuationFrame(1, bytes(1 << 14)).serialize()] * 3],
        "flood": [begun, *[many] * 10_000],
    }


def test_what_cannot_be_read_is_passed_on_as_it_is(check_all: Callable[..., None]):
    """
    The gRPC server gets each byte of a connection that cannot be read, in its place; nothing
    is added to it from there on, and little is held meanwhile.
    """
    frames, first = broken(), requests("a.example")

    def check(row: tuple[str, int]) -> None:
        what, size = row
        visit = OpenConnection(is_known=True)
        marks = AuthorityMarks(KEY, visit)
        rest = b"".join(frames[what]) + requests("b.example")[len(PREFACE) :]
        passed, largest = b"", 0
        for at in range(0, len(first + rest), size):
            passed += marks.take((first + rest)[at : at + size])
            block = 0 if marks._block is None else len(marks._block.raw)
            largest = max(largest, len(marks._held) + block)
        assert passed == AuthorityMarks(KEY, visit).take(first) + rest
        assert marks_in(passed[: -len(rest)]) == ["a.example"]
        assert largest <= authorities._LARGEST_BLOCK
        assert (len(marks._held), marks._block) == (0, None)

    check_all(check, itertools.product(frames, (5, 1 << 30)))


def test_changed_bytes_are_passed_on():
    """
    Whatever becomes of some bytes of a connection, all of them arrive.
    """
    chance = random.Random(7)
    clean = requests("a.example", "b.example:1", "a.example")
    clean += DataFrame(1, b"data" * 9).serialize() + PingFrame(0, b"12345678").serialize()
    for _ in range(2000):
        data = bytearray(clean)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(PREFACE), len(data))] = chance.randrange(256)
        marks = AuthorityMarks(KEY, OpenConnection())
        passed = in_pieces(marks, bytes(data), chance.randint(1, 200))
        left = (b"" if marks._block is None else bytes(marks._block.raw)) + bytes(marks._held)
        plain = AuthorityMarks(KEY, OpenConnection())
        plain._make_mark = lambda _: b""  # type: ignore[method-assign]  # no mark
        assert in_pieces(plain, bytes(data), 64) + left == bytes(data)
        assert len(passed) + len(left) >= len(data)


def test_little_is_read_of_strangers():
    """
    A client that has shown no key is read for a while only, as reading takes time; one that
    has shown it is read for ever.
    """
    for is_known in (False, True):
        visit, encoder = OpenConnection(), Encoder()
        marks = AuthorityMarks(KEY, visit)
        passed = marks.take(requests("a.example", encoder=encoder))
        visit.is_known = is_known
        fields = [("x", "y" * 8000), *fields_of("a.example")]
        for number in range(1, 40):
            block = encoder.encode(fields, huffman=False)
            frame = HeadersFrame(2 * number + 1, block, flags=["END_HEADERS"])
            passed += marks.take(frame.serialize())
        found = marks_in(passed)
        assert found[:3] == ["a.example"] * 3
        assert found[-1] == ("a.example" if is_known else None)


def test_large_messages_are_not_copied(marks: AuthorityMarks):
    """
    What has no header fields is passed on as it has come.
    """
    marks.take(requests("a.example"))
    data = DataFrame(1, bytes(1 << 14)).serialize() * 4
    assert marks.take(data) is data
    assert marks.take(data[:-1]) is not None
    end = data[-1:]
    assert marks.take(end) is end


def test_keys_are_not_logged(marks: AuthorityMarks, caplog: pytest.LogCaptureFixture):
    """
    What is read of a request is not in the log, at whatever level: it has the client's key.
    """
    caplog.set_level(logging.DEBUG)
    fields = fields_of("a.example", ("auth-key", "very-secret"))
    frame = HeadersFrame(1, Encoder().encode(fields), flags=["END_HEADERS"])
    caplog.clear()
    assert b"a.example" in marks.take(PREFACE + frame.serialize())
    assert not caplog.records
