"""Listeners: one port for gRPC, TLS and HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from api_connections import REQUEST, connect, read_all, trusting
from isolate_proto import CreateUserKeyRequest, ListUserKeysRequest
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from programs import to_metadata

from fal_core_worker.serving.ports import free_port
from fal_server.limits import Limits
from fal_server.listeners import shared_ports
from fal_server.listeners.open_connections import OpenConnection
from fal_server.listeners.shared_ports import Listener


def test_plain_http_is_answered(plane):
    """A connection that begins as HTTP/1.1 is HTTP."""
    with connect(plane) as connection:
        connection.sendall(REQUEST)
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == "ok"


def test_bytes_that_arrive_one_by_one(plane):
    """The protocol of a connection is recognised by its first bytes, however they are cut."""
    request = REQUEST.replace(b"GET", b"PUT")
    with connect(plane) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(len(request)):
            connection.sendall(request[start : start + 1])
            if start < 5:
                # Each of these bytes arrives on its own.
                time.sleep(0.03)
        assert read_all(connection).startswith(b"HTTP/1.1 405")


def test_a_connection_that_stops_after_a_byte_costs_nothing(plane, monkeypatch):
    """
    A server does not look again and again whether a client that has sent too little to tell
    the protocol has sent more.
    """
    looks = []

    async def peek(connection: socket.socket, seconds: float) -> None:
        looks.append(connection)
        await looked(connection, seconds)

    looked = shared_ports._readable
    monkeypatch.setattr(shared_ports, "_readable", peek)
    # It may become HTTP/2 as well, which begins with "PRI".
    request = REQUEST.replace(b"GET", b"PUT")
    with connect(plane) as connection:
        connection.sendall(request[:1])
        # A server that polls would look now.
        time.sleep(0.3)
        connection.sendall(request[1:])
        assert read_all(connection).startswith(b"HTTP/1.1 405")
    assert len(looks) == 1


def test_a_silent_connection_does_not_hold_others_up(plane):
    """Connections that say nothing, or end at once, are no trouble to others."""
    silent = [connect(plane) for _ in range(50)]
    for each in silent[:25]:
        each.close()
    test_plain_http_is_answered(plane)
    for each in silent:
        each.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_tls_speaks_http(plane, host):
    """The same port answers HTTPS with a certificate of its own authority."""
    client = http.client.HTTPSConnection(
        host, plane.plane.ports["api"], context=trusting(plane), timeout=30
    )
    client.request("GET", "/health")
    answer = client.getresponse()
    assert (answer.status, json.load(answer)["status"]) == (200, "ok")
    client.close()


def test_nothing_follows_a_handshake(plane):
    """
    A server sends no tickets: a client that reads in one thread and writes in another,
    as the SDK does, may wait for ever when one arrives while it writes.
    """
    context = trusting(plane)
    with context.wrap_socket(connect(plane), server_hostname="localhost") as connection:
        connection.sendall(REQUEST)
        assert read_all(connection).startswith(b"HTTP/1.1 200")
        assert not connection.session.has_ticket


def test_client_without_the_authority_is_not_served(plane):
    """
    A client that does not trust the authority fails, and is not served in plain text
    instead.
    """
    client = http.client.HTTPSConnection("127.0.0.1", plane.plane.ports["api"], timeout=30)
    with pytest.raises(ssl.SSLCertVerificationError):
        client.request("GET", "/health")


@pytest.mark.parametrize("listener", ["api", "run", "queue", "ws", "metrics"])
def test_listeners_offer_their_protocols(plane, listener):
    """
    Only the listener of gRPC offers HTTP/2; the others answer a client that prefers it in
    HTTP/1.1.
    """
    context = trusting(plane)
    context.set_alpn_protocols(["h2", "http/1.1"])
    address = ("127.0.0.1", plane.plane.ports[listener])
    with (
        socket.create_connection(address, timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        chosen = connection.selected_alpn_protocol()
        assert chosen == ("h2" if listener == "api" else "http/1.1")
        if chosen == "http/1.1":
            connection.sendall(REQUEST)
            assert read_all(connection).startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("tls", [False, True])
def test_grpc_with_and_without_tls(plane, tls):
    """The same port answers gRPC, plain and over TLS."""
    if tls:
        authority = (plane.directory.tls / "ca.pem").read_bytes()
        credentials = grpc.ssl_channel_credentials(authority)
        channel = grpc.secure_channel(plane.address, credentials)
    else:
        channel = grpc.insecure_channel(plane.address)
    with channel:
        answer, call = IsolateControllerStub(channel).ListUserKeys.with_call(
            ListUserKeysRequest(), metadata=to_metadata(plane.key)
        )
    assert plane.key.partition(":")[0] in [key.key_id for key in answer.user_keys]
    assert "fal-core-server" in dict(call.initial_metadata())


def test_large_bodies_pass_whole(plane):
    """A message of megabytes passes through the listener."""
    request = CreateUserKeyRequest(alias="x" * (20 << 20))
    with pytest.raises(grpc.RpcError) as caught:
        plane.call("CreateUserKey", request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "alias" in caught.value.details()


def test_plain_text_is_for_this_machine_only(make_plane):
    """Clients on other machines are served over TLS only."""
    plane = make_plane(host="0.0.0.0")
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("This machine has no address but its loopback.")
        address = probe.getsockname()[0]
    port = plane.plane.ports["api"]
    with socket.create_connection((address, port), timeout=30) as connection:
        connection.sendall(REQUEST)
        try:
            answer = read_all(connection)
        except ConnectionError:
            answer = b""
        assert answer == b""
    context = trusting(plane)
    context.check_hostname = False
    client = http.client.HTTPSConnection(address, port, context=context, timeout=30)
    client.request("GET", "/health")
    assert client.getresponse().status == 200
    client.close()


async def listen_anywhere() -> int:
    """Return the port of a listener that was given none."""
    listener = Listener(name="any", http=lambda _: asyncio.Protocol())
    try:
        return listener.listen("127.0.0.1", 0)
    finally:
        await listener.close()


def test_connections_wait_until_a_listener_opens():
    """A connection that comes while a server still reads its state is served afterwards."""

    async def main() -> None:
        made = asyncio.Event()

        def make(_: OpenConnection) -> asyncio.Protocol:
            made.set()
            return asyncio.Protocol()

        listener = Listener(name="any", http=make)
        port = listener.listen("127.0.0.1", 0)
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            await writer.drain()
            assert not made.is_set()
            listener.open()
            await asyncio.wait_for(made.wait(), 30)
            writer.close()
        finally:
            await listener.close()

    asyncio.run(main())


def test_free_port_is_left_to_a_server_that_starts_again():
    """A port that a listener chooses is none that the system gives to connections."""
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not given.exists():
        pytest.skip("This system does not say which ports it gives to connections.")
    first, last = map(int, given.read_text().split())

    assert not first <= asyncio.run(listen_anywhere()) <= last


def test_free_port_that_is_taken_meanwhile(monkeypatch):
    """If the free port that was found is taken before it is used, the listener takes another."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        found = iter([other.getsockname()[1], free_port()])
        monkeypatch.setattr(shared_ports, "free_port", lambda: next(found))

        assert asyncio.run(listen_anywhere()) != other.getsockname()[1]


def test_connections_that_are_closed_at_any_moment(make_plane, settle):
    """Wherever a connection is that is closed to make room, nothing of it is left."""
    limits = Limits(most_connections=3, longest_head=1, longest_idle=1)
    plane = make_plane(limits=limits)
    context = trusting(plane)
    begins = (b"", b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n", REQUEST)

    def come(number: int) -> None:
        with contextlib.suppress(OSError), connect(plane) as plain:
            if number % 3:
                plain.sendall(begins[number % len(begins)])
                return
            with context.wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(REQUEST)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(come, range(300)))
    settle(lambda: plane.here(len, plane.plane.doors.connections) == 0)
    plane.close()
