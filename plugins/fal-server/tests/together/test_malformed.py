"""
Malformed messages: refused, logged, and no reason to end.

A seeded tenth runs by default; FAL_CORE_FAULTS=all sends all.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import socket
import ssl

import grpc
import pytest
from programs import to_metadata

from fal_server.grpc.service import SERVICE
from fal_server.state.data_directories import DataDirectory

pytestmark = pytest.mark.faults

#: Messages of each sort, the half of them at each listener.
COUNT = 2000 if os.environ.get("FAL_CORE_FAULTS") == "all" else 200

LISTENERS = ["api", "run", "queue", "ws", "metrics"]

#: What is put into requests, and what connections begin with.
INSERTED = [b"\r\n", b"\0", b"\r\nTransfer-Encoding: chunked\r\n", b"%00", b"/../", b":"]
STARTS = [b"", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PRI", b"GET / ", b"P"]

#: What a query may have that makes no sense.
QUERIES = ["", "?page_size=-1", "?since=%ff", "?until=1e999", "?search=%00"]

ROUTES = [
    ("GET", "/users/current"),
    ("GET", "/users/teams"),
    ("POST", "/logs/history"),
    ("GET", "/logs/"),
    ("POST", "/files/missing_hashes"),
    ("POST", f"/files/app/multipart/{'a' * 64}/initiate"),
    ("PUT", f"/files/app/multipart/{'a' * 64}/{'b' * 32}/1"),
    ("POST", f"/files/app/multipart/{'a' * 64}/{'b' * 32}/complete"),
    ("POST", "/storage/upload/initiate"),
    ("POST", "/storage/upload/initiate-multipart"),
    ("PUT", "/storage/uploads/a.b.c"),
    ("GET", "/storage/files/x/y"),
]


@pytest.fixture(scope="module")
def target(tmp_path_factory, launch_program):
    """
    A server in a process of its own, which must end well, log refusals only, and show no
    secret.
    """
    program = launch_program(tmp_path_factory.mktemp("target") / "data", "--verbose")
    variables = program.wait_until_ready()
    yield program, variables, DataDirectory(program.data).read_addresses()[1]
    code = program.end()
    told = program.errors.read_text()
    secret = variables["FAL_KEY"].partition(":")[2]
    assert code == 0, told[-3000:]
    assert not any(secret[at : at + 8] in told for at in range(len(secret) - 7))
    refused = r".* refused: .*|.* A request that cannot be read was refused: .*"
    strange = [line for line in told.splitlines() if not re.fullmatch(refused, line)]
    assert not strange, strange[:40]


#: Seconds that the server has to answer what may have no end.
MOMENT = 0.03


def exchange(
    target, content: bytes, *, listener: str = "api", tls: bool = False, whole: bool = True
) -> bytes:
    """
    Send *content* to a listener, and return the response.

    If it may not be a *whole* request, the connection is ended after a moment.
    """
    _, variables, ports = target
    host = "127.0.0.1"
    answer = b""
    with contextlib.suppress(OSError):
        connection = socket.create_connection((host, ports[listener]), timeout=30)
        if tls:
            context = ssl.create_default_context(cafile=variables["SSL_CERT_FILE"])
            connection = context.wrap_socket(connection, server_hostname=host)
        with connection:
            connection.settimeout(60 if whole else MOMENT)
            connection.sendall(content)
            while part := connection.recv(65536):
                answer += part
    return answer


def check(target, answer: bytes) -> None:
    # What was put into a secret leaves a part of it whole.
    secret = target[1]["FAL_KEY"].partition(":")[2].encode()
    assert not any(secret[at : at + 8] in answer for at in range(len(secret) - 7)), answer
    assert b"Traceback" not in answer


def noise(chance: random.Random, longest: int = 400) -> bytes:
    return chance.randbytes(chance.randrange(longest))


def mutate(chance: random.Random, content: bytes) -> bytes:
    """
    Change some bytes of *content*, cut it, or insert something, half of the time at the
    key.
    """
    changed = bytearray(content)
    start = content.find(b"Authorization")
    end = content.find(b"\r\n", start)
    near = start >= 0 and chance.random() < 0.5
    for _ in range(chance.randrange(1, 6)):
        where = chance.randrange(start, end) if near else chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[where : where + 1] = chance.randbytes(1)
            case 1:
                del changed[where : where + chance.randrange(20)]
            case 2:
                changed[where:where] = noise(chance, 20)
            case _:
                changed[where:where] = chance.choice(INSERTED)
    return bytes(changed)


def still_answers(target) -> None:
    answer = exchange(target, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b'{"status": "ok"}' in answer


def test_bytes_that_are_nothing(target):
    """Bytes that are no protocol, or the beginning of one, are dropped."""
    chance = random.Random(1)
    for _ in range(COUNT):
        check(target, exchange(target, chance.choice(STARTS) + noise(chance), whole=False))
    still_answers(target)


@pytest.mark.parametrize("listener", LISTENERS)
def test_requests_that_are_broken(target, listener):
    """
    HTTP requests with changed, missing or inserted bytes are refused at every listener, and
    neither the response nor the log has their key.
    """
    chance = random.Random(f"2 {listener}")
    for _ in range(COUNT // 2):
        method, path = chance.choice(ROUTES)
        body = chance.choice([b"{}", b'{"hashes": []}', noise(chance)])
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Key {target[1]['FAL_KEY']}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        request = mutate(chance, head.encode() + body)
        tls = chance.random() < 0.05
        check(target, exchange(target, request, listener=listener, tls=tls, whole=False))
    still_answers(target)


@pytest.mark.parametrize("listener", LISTENERS)
def test_keys_in_lines_that_cannot_be_read(target, listener):
    """A malformed header line is refused, and appears neither in the response nor in the log."""
    key = target[1]["FAL_KEY"].encode()
    for line in [
        b"Authorization: Key " + key + b"\0",
        b"Authorization: Key " + key + b"\x7f\x01",
        b"Authorization : Key " + key,
        b" Authorization: Key " + key,
        b"Authorization Key " + key,
        b"Key " + key,
        b": " + key,
        b"Authorization: Key " + key + b"x" * 9000,
        key + b": " + b"x" * 9000,
        b"Content-Length: " + key,
        b"Transfer-Encoding: " + key,
        b"Host: y\r\nHost: " + key,
        b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: " + key,
        b"Transfer-Encoding: chunked\r\n\r\n" + key + b"\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc" + key + b"\r\n0",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization Key " + key,
        b"Transfer-Encoding: chunked\r\nContent-Encoding: gzip\r\n\r\n30\r\n" + key,
    ]:
        for method in (b"POST /owner/nothing", b"GET /health", b"POST /logs/history"):
            request = method + b" HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n"
            check(target, exchange(target, request, listener=listener, whole=False))
    first = b"GET /" + key + b"\0 HTTP/1.1\r\n\r\n"
    check(target, exchange(target, first, listener=listener, whole=False))
    still_answers(target)


def test_bodies_that_make_no_sense(target):
    """
    Requests whose form is right and whose content is not are refused with a status of
    the client's.
    """
    chance = random.Random(3)
    for _ in range(COUNT):
        method, path = chance.choice(ROUTES)
        body = chance.choice(
            [noise(chance), json.dumps(anything(chance, 4)).encode(), b"[" * 5000, b'"\\ud800"']
        )
        kind = chance.choice(["application/json", "multipart/form-data; boundary=x", "a/b"])
        query = chance.choice(QUERIES)
        head = (
            f"{method} {path}{query} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
            f"Authorization: Key {target[1]['FAL_KEY']}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        answer = exchange(target, head.encode() + body)
        check(target, answer)
        assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")), answer[:300]
    still_answers(target)


def anything(chance: random.Random, depth: int) -> object:
    """Make something that JSON can write."""
    names = ["hashes", "parts", "metadata", "mode", "file_name", "content_type", "part_number"]
    kinds = range(6 if depth else 4)
    match chance.choice(kinds):
        case 0:
            return chance.choice([None, True, -1, 1e308, 10**30])
        case 1:
            return chance.choice(["", "\ud800", "a" * 5000, "../..", "\0"])
        case 2:
            return "f" * 64
        case 3:
            return chance.randrange(-5, 5)
        case 4:
            return [anything(chance, depth - 1) for _ in range(chance.randrange(4))]
        case _:
            return {chance.choice(names): anything(chance, depth - 1) for _ in range(3)}


@pytest.mark.parametrize("listener", LISTENERS)
def test_smuggled_requests_are_one_or_none(target, listener):
    """
    A request that two parsers could read as two is answered at most once; the hidden
    request never is.
    """
    key = target[1]["FAL_KEY"].encode()
    hidden = b"GET /users/current HTTP/1.1\r\nAuthorization: Key " + key + b"\r\nX: "
    for head in [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"Content-Length: +5\r\n\r\n",
        b"Content-Length: 0x5\r\n\r\n",
        b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]:
        request = b"POST /logs/history HTTP/1.1\r\nHost: x\r\n" + head + hidden
        answer = exchange(target, request, listener=listener, whole=False)
        check(target, answer)
        assert answer.count(b"HTTP/1.1 ") <= 1, (head, answer)
        assert b" 400 " in answer.partition(b"\r\n")[0] or not answer, (head, answer)


def test_messages_that_are_broken(target):
    """
    Unreadable gRPC messages, with a valid key and without, are refused with a status code
    for errors of the client.
    """
    chance = random.Random(4)
    key = target[1]["FAL_KEY"]
    id, _, secret = key.partition(":")
    codes: set[grpc.StatusCode] = set()
    told = ""
    with grpc.insecure_channel(target[1]["FAL_GRPC_HOST"]) as channel:
        for _ in range(2 * COUNT):
            method = chance.choice(SERVICE.methods).name
            call = channel.unary_stream(
                f"/{SERVICE.full_name}/{chance.choice([method, 'None', method.lower()])}"
            )
            metadata = chance.choice(
                [
                    to_metadata(key),
                    to_metadata(f"{id}:{'x' * 100}"),
                    (("authorization", f"Key {secret}"),),
                    (("authorization", "Bearer " + "a." * 300),),
                    (("fal-user-id", "user|1"), ("x-bin", b"\xff\x00")),
                ]
            )
            try:
                list(call(noise(chance), metadata=metadata, timeout=60))
                codes.add(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.add(error.code())
                told += error.details() or ""
    assert secret not in told
    assert codes <= {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
    }, codes
    still_answers(target)
