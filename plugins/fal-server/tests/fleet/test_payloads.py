"""Payloads: the secrets, the files and the directory that runners get."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import grpc
import pytest
from isolate_proto import BuildEnvironmentRequest, EnvironmentDefinition, SetSecretRequest
from isolate_proto import controller_pb2 as wire


@pytest.fixture(scope="module")
def secrets(served_plane):
    """Secrets of two environments."""
    served_plane.plane.call("CreateEnvironment", wire.CreateEnvironmentRequest(name="dev"))
    for name, value, environment in (
        ("SECRET_A", "main a", "main"),
        ("SECRET_B", "main b", "main"),
        ("SECRET_A", "dev a", "dev"),
    ):
        request = SetSecretRequest(
            name=name, value=value, environment_name=environment, default_exposed=True
        )
        served_plane.plane.call("SetSecret", request)


def look() -> dict[str, str]:
    """Return the environment variables and the working directory."""
    import os

    return {**os.environ, "HERE": os.getcwd(), "PID": str(os.getpid())}


def secrets_of(found: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in found.items() if name.startswith("SECRET_")}


def send_file(served_plane, content: bytes, mode: int = 0o100644) -> str:
    """Upload a file of an application, and return its hash."""
    hash = hashlib.sha256(content + str(mode).encode()).hexdigest()
    metadata = {"size": len(content), "mtime": "0", "mode": mode, "hash": hash}
    metadata = {name: str(value) for name, value in metadata.items()}
    url = f"/files/app/multipart/{hash}"
    with served_plane.plane.client() as client:
        upload = client.post(f"{url}/initiate", json=metadata).json()["upload_id"]
        part = client.put(f"{url}/{upload}/1", files={"file_upload": content}).json()
        told = {"parts": [part], "metadata": metadata}
        assert client.post(f"{url}/{upload}/complete", json=told).status_code == 200
    return hash


def test_runners_get_the_secrets_of_their_registration(served_plane, secrets):
    """
    A runner gets the secrets of its stage that its registration names; without a list it
    gets all of them, with an empty list none.
    """

    def named(*names: str, environment: str = ""):
        def change(request):
            request.secrets.names.extend(names)
            request.secrets.SetInParent()
            request.environment_name = environment

        return change

    def in_dev(request):
        request.environment_name = "dev"

    expected = {"SECRET_A": "main a", "SECRET_B": "main b"}
    for name, change, path, found in (
        ("all", lambda _: None, "all", expected),
        ("one", named("SECRET_B"), "one", {"SECRET_B": "main b"}),
        ("none", named(), "none", {}),
        ("staged", in_dev, "staged--dev", {"SECRET_A": "dev a"}),
    ):
        served_plane.deploy(name, change=change, keep_alive=0)
        with served_plane.client("run") as client:
            answer = client.post(f"/owner/{path}/look", json={}).json()
        assert secrets_of(answer["variables"]) == found, name


def test_a_warm_runner_has_the_secrets_of_no_other_call(served_plane, secrets):
    """Calls that ask for other secrets, or in another environment, share no runner."""

    def named(*names: str):
        return lambda request: request.secrets.names.extend(names)

    def in_dev(request):
        request.environment_name = "dev"

    found = [
        served_plane.run(look, change=change)
        for change in (named("SECRET_A"), named("SECRET_B"), in_dev, named("SECRET_A"))
    ]
    assert [secrets_of(each) for each in found] == [
        {"SECRET_A": "main a"},
        {"SECRET_B": "main b"},
        {"SECRET_A": "dev a"},
        {"SECRET_A": "main a"},
    ]
    assert found[0]["PID"] == found[3]["PID"]


def test_secret_that_is_not_set(served_plane, secrets):
    """
    A secret that is not set is named before anything is built, with the command that sets it:
    to the caller of a function, and to whoever builds or deploys.
    """

    def change(request):
        request.secrets.names.append("SECRET_LATER")

    told = (
        "'SECRET_LATER' is not set in 'main'. Set it with 'fal secrets set SECRET_LATER=VALUE'"
    )
    plane = served_plane.plane
    build = BuildEnvironmentRequest(environments=[EnvironmentDefinition(kind="virtualenv")])
    # What cannot be built is not tried.
    build.environments[0].configuration["requirements"] = ["no-such-package-of-ours==1"]
    change(build)
    for attempt in (
        lambda: served_plane.run(look, change=change),
        lambda: served_plane.deploy("hopeful", change=change, attach=False),
        lambda: list(plane.stream("BuildEnvironment", build)),
    ):
        with pytest.raises(grpc.RpcError, match=told):
            attempt()
    plane.call("SetSecret", SetSecretRequest(name="SECRET_LATER", value="now"))
    served_plane.deploy("hopeful", change=change, attach=False)
    with served_plane.client("run") as client:
        answer = client.post("/owner/hopeful/look", json={})
    assert secrets_of(answer.json()["variables"]) == {"SECRET_LATER": "now"}


def test_secret_that_was_removed(served_plane, secrets):
    """Clients of an application whose secret was removed are told so."""

    def change(request):
        request.secrets.names.append("SECRET_GONE")

    plane = served_plane.plane
    plane.call("SetSecret", SetSecretRequest(name="SECRET_GONE", value="now"))
    served_plane.deploy("robbed", change=change, attach=False)
    with served_plane.client("run") as client:
        assert client.post("/owner/robbed/look", json={}).status_code == 200
        plane.call("SetSecret", SetSecretRequest(name="SECRET_GONE"))
        [runner] = plane.plane.catalog.find("owner", "robbed").runners
        plane.call("KillRunner", wire.KillRunnerRequest(runner_id=runner.id))
        served_plane.settle(lambda: not runner.is_alive)
        refused = client.post("/owner/robbed/look", json={})
        assert refused.status_code == 503
        assert "'SECRET_GONE' is not set" in refused.json()["detail"]


def test_files_of_an_application(served_plane):
    """
    The files of an application are in the working directory of its runner, with their
    modes; each runner has its own copy, which is removed with it.
    """
    tool = send_file(served_plane, b"#!/bin/sh\necho told\n", 0o100755)
    text = send_file(served_plane, b"words")

    def change(request):
        request.files.add(hash=tool, relative_path="bin/tool")
        request.files.add(hash=text, relative_path="text.txt")

    served_plane.deploy("filed", change=change)
    with served_plane.client("run") as client:
        folder = client.post("/owner/filed/look", json={}).json()["directory"]
    assert (Path(folder) / "text.txt").read_bytes() == b"words"
    assert stat.S_IMODE((Path(folder) / "bin/tool").stat().st_mode) == 0o755
    served_plane.plane.call("DeleteAlias", wire.DeleteAliasRequest(alias="filed"))
    served_plane.settle(lambda: not Path(folder).exists())


def test_files_of_a_function(served_plane):
    """A warm runner is used again if the files are the same; other files start another runner."""

    def read() -> list[str]:
        import os

        with open("text.txt") as file:
            return [file.read(), str(os.getpid())]

    def with_file(content: bytes):
        hash = send_file(served_plane, content)
        return lambda request: request.files.add(hash=hash, relative_path="text.txt")

    first, second = with_file(b"first"), with_file(b"second")
    found = [served_plane.run(read, change=change) for change in (first, first, second)]
    assert [text for text, _ in found] == ["first", "first", "second"]
    assert found[0][1] == found[1][1] != found[2][1]


def test_data_outlives_runners(served_plane):
    """
    Files in the directory that a variable names are there for all runners of the account,
    and for no others.
    """

    def leave() -> str:
        import os

        with open(os.path.join(os.environ["FAL_CORE_DATA"], "models", "weights"), "a") as file:
            file.write("kept")
            return file.name

    def mounted(request):
        request.data_mounts.append("/data/models")

    place = served_plane.run(leave, change=mounted, keep_alive=0)
    served_plane.deploy("data", change=mounted)
    served_plane.restart()
    with served_plane.client("run") as client:
        told = client.post("/owner/data/look", json={}).json()["variables"]
    assert place == f"{told['FAL_CORE_DATA']}/models/weights"
    with open(place) as file:
        assert file.read() == "kept"
    other = served_plane.run(look, key=served_plane.plane.add_user("other"))
    assert other["FAL_CORE_DATA"] != told["FAL_CORE_DATA"]


@pytest.mark.parametrize("leads", [False, True])
def test_runners_that_are_led(make_plane, served, tmp_path, monkeypatch, leads):
    """
    Runners have a proxy of their own, which they do not use for the server, if their server
    leads them; a secret that names another proxy does not replace it.
    """
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "apart.example")
    plane = make_plane(lead_runners=leads)
    request = SetSecretRequest(
        name="HTTPS_PROXY", value="http://proxy.example", default_exposed=True
    )
    plane.call("SetSecret", request)
    found = served.ServedPlane(tmp_path, lambda: plane).run(look, keep_alive=0)
    if leads:
        assert found["HTTPS_PROXY"].startswith("http://fal:")
        assert found["NO_PROXY"] == "127.0.0.1,localhost,::1,apart.example"
    else:
        assert found["HTTPS_PROXY"] == "http://proxy.example"
        assert found["NO_PROXY"] == "apart.example"
