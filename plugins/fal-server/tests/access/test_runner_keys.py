"""
Runner keys: what the code of a runner may ask of the server that runs it.
"""

from __future__ import annotations

import grpc
import httpx
import pytest
from isolate_proto import HostedRun
from isolate_proto import controller_pb2 as wire

pytestmark = pytest.mark.faults

APP = """
import fal
from fal.toolkit import File


class Maker(fal.App, keep_alive=300):
    machine_type = "XS"

    @fal.endpoint("/")
    def make(self) -> File:
        return File.from_bytes(b"made here", content_type="text/plain", file_name="a.txt")
"""


def test_application_uploads_a_file(applied):
    """
    What an application of the released SDK returns as a ``File`` is uploaded to the
    server that runs it.
    """
    file = applied.data.parent / "maker.py"
    file.write_text(APP)
    applied.fal("deploy", f"{file}::Maker", "--app-name", "maker")
    with applied.client() as client:
        answer = client.post("/owner/maker", json={})
    assert answer.status_code == 200, answer.text
    assert httpx.get(answer.json()["url"], trust_env=False, timeout=60).content == b"made here"


def key_of(stage, name: str) -> str:
    with stage.client("run") as client:
        found = client.post(f"/owner/{name}/look", json={}).json()["variables"]
    key = found["FAL_KEY"]
    assert key == f"{found['FAL_KEY_ID']}:{found['FAL_KEY_SECRET']}"
    return key


def uploads_with(stage, key: str) -> int:
    with stage.plane.client(key) as client:
        path = "/storage/auth/token?storage_type=fal-cdn-v3"
        return client.post(path, json={}).status_code


def refused(stage, name: str, request, key: str) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        stage.plane.call(name, request, key=key)
    return caught.value.code()


def test_what_a_deployed_application_may(stage):
    """
    Its key sends requests and uploads files, is shown in no list, and does nothing else.
    """
    stage.deploy("asks")
    key = key_of(stage, "asks")
    assert uploads_with(stage, key) == 200
    with stage.client("run", key) as client:
        assert client.post("/owner/asks", json={}).status_code == 200
    denied = grpc.StatusCode.PERMISSION_DENIED
    for name, request in (
        ("ListUserKeys", wire.ListUserKeysRequest()),
        ("ListSecrets", wire.ListSecretsRequest()),
        ("DeleteAlias", wire.DeleteAliasRequest(alias="asks")),
    ):
        assert refused(stage, name, request, key) == denied
    with pytest.raises(grpc.RpcError) as caught:
        [*stage.plane.stream("Run", HostedRun(), key=key)]
    assert caught.value.code() == denied
    listed = stage.plane.call("ListUserKeys", wire.ListUserKeysRequest()).user_keys
    assert key.partition(":")[0] not in {each.key_id for each in listed}


def test_what_a_function_may(stage):
    """
    The key of a function that was called runs functions as well, as who has called it may.
    """

    def look() -> str:
        import os

        return os.environ["FAL_KEY"]

    key = stage.run(look)
    assert uploads_with(stage, key) == 200
    with pytest.raises(grpc.RpcError) as caught:
        [*stage.plane.stream("Run", HostedRun(), key=key)]
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_key_lives_as_long_as_its_runner(stage):
    """
    A key is taken by the next server too, and by none once its runner has ended.
    """
    stage.deploy("lives")
    key = key_of(stage, "lives")
    stage.restart()
    assert uploads_with(stage, key) == 200
    request = wire.DeleteAliasRequest(alias="lives")
    stage.plane.call("DeleteAlias", request)
    stage.settle(lambda: uploads_with(stage, key) == 401)
