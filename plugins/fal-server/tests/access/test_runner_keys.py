"""Runner keys: which calls the code of a runner may make to the server that runs it."""

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
    A ``File`` returned by an application of the released SDK is uploaded to the server that
    runs the application.
    """
    file = applied.data.parent / "maker.py"
    file.write_text(APP)
    applied.fal("deploy", f"{file}::Maker", "--app-name", "maker")
    with applied.client() as client:
        answer = client.post("/owner/maker", json={})
    assert answer.status_code == 200, answer.text
    assert httpx.get(answer.json()["url"], trust_env=False, timeout=60).content == b"made here"


def key_of(served_plane, name: str) -> str:
    with served_plane.client("run") as client:
        found = client.post(f"/owner/{name}/look", json={}).json()["variables"]
    key = found["FAL_KEY"]
    assert key == f"{found['FAL_KEY_ID']}:{found['FAL_KEY_SECRET']}"
    return key


def uploads_with(served_plane, key: str) -> int:
    with served_plane.plane.client(key) as client:
        path = "/storage/auth/token?storage_type=fal-cdn-v3"
        return client.post(path, json={}).status_code


def refused(served_plane, name: str, request, key: str) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        served_plane.plane.call(name, request, key=key)
    return caught.value.code()


def test_permissions_of_an_application(served_plane):
    """Its key sends requests and uploads files, is shown in no list, and does nothing else."""
    served_plane.deploy("asks")
    key = key_of(served_plane, "asks")
    assert uploads_with(served_plane, key) == 200
    with served_plane.client("run", key) as client:
        assert client.post("/owner/asks", json={}).status_code == 200
    denied = grpc.StatusCode.PERMISSION_DENIED
    for name, request in (
        ("ListUserKeys", wire.ListUserKeysRequest()),
        ("CreateUserKey", wire.CreateUserKeyRequest(policy_preset="API")),
        ("ListSecrets", wire.ListSecretsRequest()),
        ("DeleteAlias", wire.DeleteAliasRequest(alias="asks")),
    ):
        assert refused(served_plane, name, request, key) == denied
    with pytest.raises(grpc.RpcError) as caught:
        [*served_plane.plane.stream("Run", HostedRun(), key=key)]
    assert caught.value.code() == denied
    listed = served_plane.plane.call("ListUserKeys", wire.ListUserKeysRequest()).user_keys
    assert key.partition(":")[0] not in {each.key_id for each in listed}


def test_permissions_of_a_function(served_plane):
    """The key of a called function may also run functions, if its caller may."""

    def look() -> str:
        import os

        return os.environ["FAL_KEY"]

    key = served_plane.run(look)
    assert uploads_with(served_plane, key) == 200
    with pytest.raises(grpc.RpcError) as caught:
        [*served_plane.plane.stream("Run", HostedRun(), key=key)]
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_key_lives_as_long_as_its_runner(served_plane):
    """
    A key is taken by the next server too, and by none once its runner has ended; neither
    are the tokens that it has made.
    """
    served_plane.deploy("lives")
    key = key_of(served_plane, "lives")
    with served_plane.plane.client(key) as client:
        token = client.post("/storage/auth/token", json={}).json()["token"]
        upload = client.post("/storage/upload/initiate", json={}).json()["upload_url"]
    upload = upload[upload.index("/storage") :]

    def tokens_open() -> set[int]:
        with served_plane.plane.client() as client:
            shown = {"Authorization": f"Bearer {token}"}
            by_token = client.post("/files/upload", content=b"a", headers=shown).status_code
            return {by_token, client.put(upload, content=b"a").status_code}

    assert tokens_open() == {200}
    served_plane.restart()
    assert uploads_with(served_plane, key) == 200
    assert tokens_open() == {200}
    request = wire.DeleteAliasRequest(alias="lives")
    served_plane.plane.call("DeleteAlias", request)
    served_plane.settle(lambda: uploads_with(served_plane, key) == 401)
    assert tokens_open() == {401}
