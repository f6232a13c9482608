"""What runners are told of the server: links name it as whoever has launched them does."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import grpc
import pytest
import served
from isolate_proto import HostedRun, RolloutApplicationRequest, SetAliasRequest
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from programs import end_runners, to_metadata

#: The variables by which runners call the server, and the listener of each.
CALLED = {
    "FAL_GRPC_HOST": "api",
    "FAL_REST_HOST": "api",
    "FAL_RUN_HOST": "run",
    "FAL_QUEUE_RUN_HOST": "queue",
    "FAL_WS_RUN_HOST": "ws",
}

APP = """
import os
import fal

class Named(fal.App, keep_alive=0):
    machine_type = "XS"

    @fal.endpoint("/")
    def tell(self) -> dict:
        return {"host": os.environ["FAL_HOST"], "called": os.environ["FAL_GRPC_HOST"]}
"""


def send(standing: Any, name: str, request: Any, host: str = "", **metadata: str) -> list[Any]:
    """Return what a caller is answered that names the server *host*."""
    plane = standing.plane
    address = f"127.0.0.1:{plane.plane.ports['api']}"
    options = [("grpc.default_authority", host)] if host else []
    told = (*to_metadata(plane.key), *metadata.items())
    with grpc.insecure_channel(address, options=options) as channel:
        answer = getattr(IsolateControllerStub(channel), name)(request, metadata=told)
        return [answer] if not hasattr(answer, "__iter__") else [*answer]


def deploy(standing: Any, name: str, host: str = "", **metadata: str) -> Any:
    """
    Deploy the application as a caller does that names the server *host*, and return the last
    message.
    """
    request = standing.registration(name)
    return send(standing, "RegisterApplication", request, host, **metadata)[-1]


def look(standing: Any, name: str) -> dict[str, str]:
    """Return the variables of a runner."""
    with standing.client("run") as client:
        answer = client.post(f"/owner/{name}/look", json={})
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()["variables"]
    return found


def run(standing: Any, function: Callable[[], Any], host: str) -> Any:
    """Return the result of a function whose caller names the server *host*."""
    request = HostedRun(application_name=function.__name__)
    served.fill(request, function)
    request.machine_requirements.keep_alive = 300
    last = send(standing, "Run", request, host)[-1]
    assert not last.return_value.was_it_raised, last.return_value.stringized_traceback
    return cloudpickle.loads(last.return_value.definition)


@pytest.fixture
def make_served(tmp_path: Path, make_plane: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Start a control plane with further settings, on which applications are deployed."""
    folder = tmp_path / "folder"
    folder.mkdir()

    def start(**settings: Any) -> Any:
        return served.ServedPlane(folder, lambda: make_plane(**settings))

    yield start
    end_runners(tmp_path / "data")


def test_released_clients(applied: Any, newest_clients: None):
    """
    A runner of an application that the released command line has deployed, and a function
    that the released SDK runs, name the server as their client does: also once the server was
    started again.
    """
    file = applied.data.parent / "named.py"
    file.write_text(textwrap.dedent(APP))
    port = applied.variables["FAL_GRPC_HOST"].partition(":")[2]
    own, hosts = (
        dict(applied.variables),
        {name: f"{name}:{port}" for name in ("localhost", "127.0.0.1")},
    )
    for name, host in hosts.items():
        applied.variables = {**own, "FAL_GRPC_HOST": host}
        target = (f"{file}::Named", "--app-name", f"at-{name.replace('.', '-')}")
        assert f"http://{name}:" in applied.fal("deploy", *target)
        assert applied.python(
            """
            import json, fal
            from fal.flags import GRPC_HOST

            @fal.function(keep_alive=30)
            def tell():
                import os
                return os.environ["FAL_HOST"]

            print("JSON " + json.dumps([tell(), GRPC_HOST]))
            """
        ) == [host, host]
    applied.variables = own

    def check() -> None:
        for name, host in hosts.items():
            with applied.client() as client:
                told = client.post(f"/owner/at-{name.replace('.', '-')}", json={}).json()
            assert told == {"host": host, "called": f"127.0.0.1:{port}"}

    check()
    assert applied.program.end() == 0
    applied.start()
    check()


def test_runners_of_a_revision(served_plane: Any):
    """
    The runners of a revision name the server as whoever has deployed it, until another
    revision does otherwise; they call it at addresses that lead to it. What clients claim, and
    what is no host, counts for nothing.
    """
    ports = served_plane.plane.plane.ports
    own = f"127.0.0.1:{ports['api']}"
    message = deploy(served_plane, "named", "fal.example.com:8443")
    assert message.service_urls.run == f"http://fal.example.com:{ports['run']}/owner/named"
    first = message.result.application_id
    found = look(served_plane, "named")
    assert found["FAL_HOST"] == "fal.example.com:8443"
    called = {name: f"127.0.0.1:{ports[listener]}" for name, listener in CALLED.items()}
    assert {name: found[name] for name in CALLED} == called
    # Whoever replaces runners, or points the alias elsewhere, deploys nothing.
    rollout = RolloutApplicationRequest(application_name="named", force=True)
    send(served_plane, "RolloutApplication", rollout, "other.example.com")
    assert look(served_plane, "named")["FAL_HOST"] == "fal.example.com:8443"
    claims = {"fal-core-server-host": "evil.example", "fal-core-relay": "a guess"}
    deploy(served_plane, "named", **claims)
    assert look(served_plane, "named")["FAL_HOST"] == own
    point = SetAliasRequest(alias="named", revision=first)
    send(served_plane, "SetAlias", point)
    assert look(served_plane, "named")["FAL_HOST"] == "fal.example.com:8443"
    for host in ("no_host?", "rest.fal.ai"):
        assert deploy(served_plane, "named", host).service_urls.run.startswith("http://127.")
        assert look(served_plane, "named")["FAL_HOST"] == own


def test_calls_that_share_a_runner(served_plane: Any):
    """Calls of one function share a runner, and each names the server as its caller."""

    def tell() -> tuple[str, int]:
        import os

        return os.environ["FAL_HOST"], os.getpid()

    hosts = ["10.0.0.5:8000", "fal.example.com", "[::1]:6001"]
    found = [run(served_plane, tell, host) for host in hosts]
    assert [host for host, _ in found] == hosts
    assert len({pid for _, pid in found}) == 1


def test_workflows(served_plane: Any):
    """A workflow that is published by HTTP names the server as its request did."""
    plane = served_plane.plane
    content = {"name": "named", "contents": {"nodes": {}, "output": "$input"}, "title": ""}
    with plane.client() as client:
        headers = {"Host": "fal.example.com:8443"}
        assert client.post("/workflows/", json=content, headers=headers).status_code == 201
    application = plane.plane.catalog.find("owner", "workflow-named")
    assert application.spec.server_host == "fal.example.com:8443"


def test_urls_of_files(make_served: Callable[..., Any]):
    """
    The URLs of files that a runner hands on name a server that listens everywhere as its
    caller does, and the URL to send a file to leads there from the runner.
    """

    def upload() -> list[str]:
        import json
        import os
        import urllib.request

        def post(path: str, content: bytes) -> dict[str, str]:
            url = f"http://{os.environ['FAL_REST_HOST']}{path}"
            headers = {"Authorization": f"Key {os.environ['FAL_KEY']}"}
            headers["Content-Type"] = "application/json"
            request = urllib.request.Request(url, content, headers, method="POST")
            with urllib.request.urlopen(request) as answer:
                return dict(json.load(answer))

        made = post("/storage/upload/initiate", b'{"file_name": "a", "content_type": "b/c"}')
        sent, parts = post("/files/upload", b"x"), post("/files/upload/multipart", b"")
        return [made["file_url"], sent["access_url"], made["upload_url"], parts["access_url"]]

    everywhere = make_served(host="0.0.0.0")
    port = everywhere.plane.plane.ports["api"]
    *handed, sent_to, parts = run(everywhere, upload, "fal.example.com:8443")
    for url in handed:
        assert url.startswith("https://fal.example.com:8443/storage/files/"), url
    for url in (sent_to, parts):
        assert url.startswith(f"https://127.0.0.1:{port}/storage/"), url
    message = deploy(everywhere, "named", "fal.example.com:8443")
    gateway = f"https://fal.example.com:{everywhere.plane.plane.ports['run']}"
    assert message.service_urls.run == f"{gateway}/owner/named"


def test_public_host(make_served: Callable[..., Any]):
    """
    A server that is reached through a proxy is named by the host that its operator says,
    whatever the proxy or its client does.
    """
    proxied = make_served(public={"api": "api.example.com", "run": "run.example.com"})
    ports = proxied.plane.plane.ports
    for host in ("", "backend:1", "api.example.com"):
        message = deploy(proxied, "named", host)
        assert message.service_urls.run == "https://run.example.com/owner/named"
        found = look(proxied, "named")
        assert found["FAL_HOST"] == "api.example.com"
        assert found["FAL_GRPC_HOST"] == f"127.0.0.1:{ports['api']}"


@pytest.mark.timeout(600)
def test_replicas(make_replicas: Callable[..., Any]):
    """
    A replica that passes a deployment on passes on what its client names the server, and
    nothing that the client claims.
    """
    replicas = make_replicas(2)
    follower = replicas.served[replicas.followers[0]]
    decider = replicas.served[replicas.decider]
    claims = {"fal-core-server-host": "evil.example", "fal-core-relay": "a guess"}
    for served_by in (follower, decider):
        deploy(served_by, "named", "fal.example.com:8443", **claims)
        assert look(follower, "named")["FAL_HOST"] == "fal.example.com:8443"
        deploy(served_by, "named", **claims)
        port = served_by.plane.plane.ports["api"]
        assert look(follower, "named")["FAL_HOST"] == f"127.0.0.1:{port}"
