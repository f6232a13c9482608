"""Revocations: what is open ends with the key that opened it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import grpc
import httpx
import pytest
from isolate_proto import HostedRun, RevokeUserKeyRequest
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from programs import to_metadata
from served import fill

from fal_server.access.revocations import Revocations
from fal_server.errors import StateUnavailable, Unauthenticated
from fal_server.store.keys import revoke_key


def make_endless() -> Callable[..., None]:
    """Return an application whose responses and websockets do not end by themselves."""

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import base64
        import hashlib
        import time
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                while True:
                    self.wfile.write(b"2\r\nhi\r\n")
                    # The next of a stream without end.
                    time.sleep(0.02)

            def do_GET(self) -> None:
                shown = self.headers["Sec-WebSocket-Key"].encode()
                told = hashlib.sha1(shown + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
                self.send_response(101)
                self.send_header("Upgrade", "websocket")
                self.send_header("Connection", "Upgrade")
                self.send_header(
                    "Sec-WebSocket-Accept", base64.b64encode(told.digest()).decode()
                )
                self.end_headers()
                self.rfile.read()

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


@pytest.fixture(scope="module")
def endless(served_plane: Any) -> str:
    """The path of an application whose responses do not end."""
    served_plane.deploy("endless", function=make_endless(), max_multiplexing=8)
    return "/owner/endless"


def revoke(served_plane: Any, key: str) -> None:
    request = RevokeUserKeyRequest(key_id=key.partition(":")[0])
    served_plane.plane.call("RevokeUserKey", request)


@contextmanager
def log_stream(served_plane: Any, key: str) -> Iterator[Callable[[], None]]:
    """A stream of log lines; what it yields reads it to its end."""
    with (
        served_plane.plane.client(key) as client,
        client.stream("POST", "/logs/stream") as response,
    ):
        assert response.status_code == 200
        yield lambda: [*response.iter_bytes()] and None


def test_log_stream_ends_with_its_key(served_plane: Any):
    """A stream of log lines ends when the server revokes the key that opened it."""
    key = served_plane.plane.make_key()
    with log_stream(served_plane, key) as read:
        revoke(served_plane, key)
        read()


def test_log_stream_ends_with_a_key_that_another_process_revokes(
    served_plane: Any, account: str
):
    """The command line revokes keys in the database, beside the server."""
    key = served_plane.plane.make_key()
    with log_stream(served_plane, key) as read:
        id = key.partition(":")[0]
        database = served_plane.plane.plane.database
        served_plane.plane.run(database.write(lambda it: revoke_key(it, account, id)))
        read()


@pytest.fixture
def account(served_plane: Any) -> str:
    with served_plane.plane.client() as client:
        return str(client.get("/users/current").json()["user_id"])


def test_response_ends_with_its_key(served_plane: Any, endless: str):
    """A response that is streamed by the run gateway breaks off, and others go on."""
    key = served_plane.plane.make_key()
    with (
        served_plane.client("run") as other,
        other.stream("POST", endless) as going,
        served_plane.client("run", key) as client,
        client.stream("POST", endless) as response,
    ):
        parts, others = response.iter_bytes(), going.iter_bytes()
        assert next(parts)
        revoke(served_plane, key)
        with pytest.raises(httpx.HTTPError):
            for _ in parts:
                pass
        assert next(others)


@pytest.mark.parametrize("listener", ["run", "ws"])
def test_websocket_ends_with_its_key(served_plane: Any, endless: str, listener: str):
    """
    A websocket through either gateway is closed, which says why, and so is one that was
    opened with a token of the key.
    """
    key = served_plane.plane.make_key()
    with served_plane.plane.client(key) as client:
        token = client.post("/tokens/", json={"allowed_apps": ["endless"]}).json()
    url = f"http://127.0.0.1:{served_plane.plane.plane.ports[listener]}{endless}"

    async def talk() -> list[int | None]:
        codes: list[int | None] = []
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, headers={"Authorization": f"Key {key}"}) as one,
            session.ws_connect(url, params={"fal_jwt_token": token}) as other,
        ):
            await asyncio.to_thread(revoke, served_plane, key)
            for each in (one, other):
                await each.receive()
                codes.append(each.close_code)
        return codes

    assert asyncio.run(talk()) == [1008, 1008]


def test_call_of_a_function_ends_with_its_key(served_plane: Any):
    """A function that is called with the key is not waited for any longer."""

    def wait() -> None:
        import time

        print("It runs.")
        # Until its call is over.
        time.sleep(60)

    key = served_plane.plane.make_key()
    request = HostedRun(application_name="wait")
    fill(request, wait)
    with grpc.insecure_channel(served_plane.plane.address) as channel:
        call = IsolateControllerStub(channel).Run(request, metadata=to_metadata(key))
        for message in call:
            if any("It runs." in line.message for line in message.logs):
                break
        revoke(served_plane, key)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_state_that_cannot_be_read_revokes_nothing(caller: Any):
    """
    What is open goes on while the database cannot be read, whatever the reason, and its own
    cancellation stays one.
    """
    answers = iter([StateUnavailable("Later."), LookupError("A bug."), True, False])

    async def valid(_: str) -> bool:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def hold(revocations: Revocations) -> None:
        async with revocations.hold(caller):
            await asyncio.get_running_loop().create_future()

    async def main() -> None:
        with pytest.raises(Unauthenticated, match="revoked"):
            await hold(Revocations(valid, 0.0))
        assert next(answers, None) is None
        task = asyncio.create_task(hold(Revocations(valid, 60.0)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.fixture
def caller() -> Any:
    from fal_server.access.callers import Caller

    return Caller(user_id="user|1", nickname="ann", permissions=frozenset(), key_id="k")
