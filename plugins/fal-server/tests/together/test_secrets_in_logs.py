"""Logs of the server: no key, no token and no path of a request is in them, at any level."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import Any

import aiohttp
import grpc
import httpx
import pytest
from isolate_proto import ListSecretsRequest, SetSecretRequest
from isolate_proto import controller_pb2 as wire
from programs import to_metadata

#: What tests log themselves: the clients.
_OTHERS = ("httpx", "httpcore", "hpack")


def send_all(served_plane: Any, words: list[str]) -> None:
    """
    Send requests of many kinds with keys and tokens, good and bad ones, and add what must
    not be logged to *words*.
    """
    plane = served_plane.plane
    key = plane.make_key()
    words += [key.partition(":")[2], path := secrets.token_hex(8), bad := secrets.token_hex(8)]
    with plane.client(key) as client:
        token = client.post("/tokens/", json={"allowed_apps": ["app"]}).json()
        uploads = client.post("/storage/auth/token", json={}).json()["token"]
        upload = client.post("/storage/upload/initiate", json={}).json()["upload_url"]
        words += [token, uploads, upload.rpartition("/")[2]]
        client.put(upload, content=b"a")
        # Refused, as it takes no parts and is read by none.
        client.put(f"{upload}/1", content=b"a")
        client.get(upload)
        client.get(f"/{path}/{token}")
        # A refusal names what was not found.
        client.get(f"/applications/none/such/queue?{path}")
        client.get(f"/runners/none?{path}")
        for shown in (f"Bearer {uploads}", f"Bearer {bad}", f"Key a:{bad}"):
            client.get(f"/users/current?a={path}", headers={"Authorization": shown})
    for listener in ("run", "queue", "ws", "metrics"):
        with served_plane.client(listener, key="") as client:
            for where in (
                f"/owner/app/{path}",
                f"/owner/{path}",
                f"/{path}",
                "/owner/app/fail",
            ):
                client.post(where, params={"fal_jwt_token": token}, json={})
                client.post(where, headers={"Authorization": f"Bearer {bad}"}, json={})
            # The runner breaks it off.
            with contextlib.suppress(httpx.HTTPError):
                told = {"times": 1}
                client.post(
                    f"/owner/app/die?{path}", params={"fal_jwt_token": token}, json=told
                )
    for name, request in (
        ("ListSecrets", ListSecretsRequest(environment_name="none")),
        ("SetSecret", SetSecretRequest(name="-", value=bad)),
        ("DeleteAlias", wire.DeleteAliasRequest(alias="none")),
    ):
        plane.code_of(name, request, key=key)
        plane.code_of(name, request, key=f"a:{bad}")
    with grpc.insecure_channel(plane.address) as channel:
        call = channel.unary_unary(f"/controller.IsolateController/{path}")
        with pytest.raises(grpc.RpcError):
            call(b"", metadata=to_metadata(key), timeout=60)
    asyncio.run(open_websocket(served_plane, path, token))


async def open_websocket(served_plane: Any, path: str, token: str) -> None:
    url = f"http://127.0.0.1:{served_plane.plane.plane.ports['ws']}/owner/app/{path}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, params={"fal_jwt_token": token}) as connection,
    ):
        await connection.send_str("{}")
        await connection.receive()


def test_no_token_and_no_path_is_logged(
    served_plane: Any, app: str, caplog: pytest.LogCaptureFixture
):
    """Even at the level of debugging logs have no key, no token and no path."""
    # The loop itself is not debugged: at each future it then walks the frames of its thread,
    # and with Python 3.11 that walk has gone round in a circle until no memory was left.
    words: list[str] = []
    caplog.set_level(logging.DEBUG)
    send_all(served_plane, words)
    told = [each for each in caplog.records if not each.name.startswith(_OTHERS)]
    lines = [logging.Formatter("%(name)s %(message)s").format(each) for each in told]
    assert any(" refused: " in line for line in lines)
    assert not [line for line in lines if any(word in line for word in words)]
