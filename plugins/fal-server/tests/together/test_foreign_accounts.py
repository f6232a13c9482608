"""
Accounts: nobody sees, uses or changes what belongs to another account.

Each method and each route is called by a stranger with the ids of things that are there and
of things that are not: the answers are the same.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import grpc
import httpx
import isolate_proto
import pytest
from isolate_proto import controller_pb2 as wire
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from polling import PATIENCE
from programs import to_metadata
from served import fill

from fal_server.access.permissions import PERMISSIONS, PRESETS, PROCEDURES
from fal_server.grpc.service import SERVICE
from fal_server.http.api import ApiRoute, OpenRoute
from fal_server.replicas import deciders
from fal_server.store.vaults import secrets as secret_rows

#: The mode of a file that the clients send.
MODE = 0o100644


@attrs.frozen
class Things:
    """Ids of things: those of an account, or some that there are not."""

    app: str
    revision: str
    runner: str
    key: str
    secret: str
    stage: str
    request: str
    upload: str
    hash: str
    user: str

    @classmethod
    def absent(cls) -> Things:
        """Return ids of nothing."""
        ids = {name: secrets.token_hex(16) for name in attrs.fields_dict(cls)}
        return cls(**{**ids, "hash": secrets.token_hex(32), "secret": "ABSENT"})


@pytest.fixture(scope="module")
def strangers(served_plane: Any) -> Mapping[str, str]:
    """A key of another account for each preset."""
    add = served_plane.plane.add_user
    return {each: add(f"with-{each.lower()}", preset=each) for each in PRESETS}


def nothing() -> None:
    pass


def upload(client: httpx.Client, content: bytes) -> tuple[str, str]:
    """
    Send a file of an application, and begin to send it once more. Return its hash, and the
    id of the upload in progress.
    """
    hashes = []
    for each in (content, content + b"x"):
        hashes.append(hashlib.sha256(each + str(MODE).encode()).hexdigest())
        path = f"/files/app/multipart/{hashes[-1]}"
        id = client.post(f"{path}/initiate", json={}).json()["upload_id"]
        file = ("chunk", each, "application/octet-stream")
        assert client.put(f"{path}/{id}/1", files={"file_upload": file}).status_code == 200
        if each is content:
            told = {"parts": [{"part_number": 1}], "metadata": {"mode": str(MODE)}}
            assert client.post(f"{path}/{id}/complete", json=told).status_code == 200
    return hashes[0], id


@pytest.fixture(scope="module")
def things(served_plane: Any) -> Things:
    """
    Things of the owner: a private application with a runner and a request, a stage with a
    secret, a key, files and lines.
    """
    plane = served_plane.plane
    revision = served_plane.deploy("mine")
    request = served_plane.submit("mine")
    assert served_plane.finish("mine", request).status_code == 200
    stage, secret = "back", "HIDDEN"
    plane.call("CreateEnvironment", wire.CreateEnvironmentRequest(name=stage))
    plane.call("SetSecret", wire.SetSecretRequest(name=secret, value="1"))
    plane.call(
        "SetSecret", wire.SetSecretRequest(name=secret, value="2", environment_name=stage)
    )
    [runner] = plane.call("ListRunners", wire.ListRunnersRequest()).runners
    with plane.client() as client:
        hash, begun = upload(client, secrets.token_bytes(20))
        user = client.get("/users/current").json()["user_id"]
    return Things(
        app="mine",
        revision=revision,
        runner=runner.runner_id,
        key=plane.make_key().partition(":")[0],
        secret=secret,
        stage=stage,
        request=request,
        upload=begun,
        hash=hash,
        user=user,
    )


@pytest.fixture(scope="module")
def stranger(served_plane: Any) -> str:
    """A key of another account, which may do everything there."""
    return served_plane.plane.add_user("stranger")


def make_run(things: Things) -> wire.HostedRun:
    """Return a run with a file and a secret."""
    request = wire.HostedRun(application_name="own", environment_name=things.stage)
    fill(request, nothing)
    request.files.add(hash=things.hash, relative_path="a")
    request.secrets.names.append(things.secret)
    return request


#: What each method is asked about things.
MESSAGES: Mapping[str, Callable[[Things], Any]] = {
    "BuildEnvironment": lambda it: wire.BuildEnvironmentRequest(application_name=it.app),
    "UpdateApplication": lambda it: wire.UpdateApplicationRequest(application_name=it.app),
    "ListApplications": lambda it: wire.ListApplicationsRequest(application_name=it.app),
    "DeleteApplication": lambda it: wire.DeleteApplicationRequest(application_id=it.revision),
    "RolloutApplication": lambda it: wire.RolloutApplicationRequest(application_name=it.app),
    "SetAlias": lambda it: wire.SetAliasRequest(alias="own", revision=it.revision),
    "DeleteAlias": lambda it: wire.DeleteAliasRequest(alias=it.app),
    "ListAliases": lambda it: wire.ListAliasesRequest(),
    "ListAliasRunners": lambda it: wire.ListAliasRunnersRequest(alias=it.app),
    "ListRunners": lambda it: wire.ListRunnersRequest(list_pending=True),
    "StopRunner": lambda it: wire.StopRunnerRequest(runner_id=it.runner),
    "KillRunner": lambda it: wire.KillRunnerRequest(runner_id=it.runner),
    "ShellRunner": lambda it: wire.ShellRunnerInput(runner_id=it.runner),
    "ListUserKeys": lambda it: wire.ListUserKeysRequest(),
    "RevokeUserKey": lambda it: wire.RevokeUserKeyRequest(key_id=it.key),
    "ListSecrets": lambda it: wire.ListSecretsRequest(environment_name=it.stage),
    "SetSecret": lambda it: wire.SetSecretRequest(
        name=it.secret, value="3", environment_name=it.stage
    ),
    "ListEnvironments": lambda it: wire.ListEnvironmentsRequest(),
    "DeleteEnvironment": lambda it: wire.DeleteEnvironmentRequest(name=it.stage),
    # These leave runners of the caller's own for a while, which lists would show.
    "Run": make_run,
    "InteractiveRun": lambda it: wire.InteractiveRunRequest(hosted_run=make_run(it)),
}

#: Methods that make something of the caller's own, whose runners get files and secrets as
#: those of a run do.
UNNAMED = {"CreateUserKey", "CreateEnvironment", "RegisterApplication", "Map"}


def ask(plane: Any, key: str, name: str, request: Any) -> tuple[Any, str]:
    """Return the status and the text of the answer of a method."""
    method = SERVICE.methods_by_name[name]
    with grpc.insecure_channel(plane.address) as channel:
        call = getattr(IsolateControllerStub(channel), name)
        sent = iter([request]) if method.client_streaming else request
        try:
            answer = call(sent, metadata=to_metadata(key), timeout=PATIENCE)
            found = list(answer) if method.server_streaming else [answer]
        except grpc.RpcError as error:
            return error.code(), str(error.details())
    return grpc.StatusCode.OK, str(found)


def without(things: Things, text: str) -> str:
    """Return *text* without the ids of things, by which alone answers may differ."""
    for name, value in attrs.asdict(things).items():
        text = text.replace(value, f"<{name}>") if len(value) > 4 else text
    return (
        text.replace(repr(things.app), "'<app>'")
        .replace(repr(things.stage), "'<stage>'")
        .replace(f"--env {things.stage}", "--env <stage>")
    )


def state_of(served_plane: Any) -> Any:
    """Return everything that the owner has."""
    plane = served_plane.plane
    lists = {
        "ListApplications": wire.ListApplicationsRequest(),
        "ListAliases": wire.ListAliasesRequest(),
        "ListUserKeys": wire.ListUserKeysRequest(),
        "ListEnvironments": wire.ListEnvironmentsRequest(),
        "ListSecrets": wire.ListSecretsRequest(environment_name="back"),
    }
    told = [str(plane.call(name, request)) for name, request in lists.items()]
    rows = plane.run(
        plane.plane.database.read(lambda it: it.execute(secret_rows.select()).fetchall())
    )
    runners = plane.call("ListRunners", wire.ListRunnersRequest()).runners
    return (
        told,
        [each for each in rows if each.name == "HIDDEN"],
        [it.runner_id for it in runners],
    )


def test_each_method_is_in_the_table():
    """No method of the protocol is without its messages here."""
    assert MESSAGES.keys() | UNNAMED == PROCEDURES.keys()


def test_method_asked_about_things_of_another_account(
    served_plane: Any, things: Things, stranger: str, check_all: Callable[..., None]
):
    """A method answers a stranger as if there were nothing, and changes nothing."""

    def check(name: str) -> None:
        before, absent = state_of(served_plane), Things.absent()
        answers = []
        for each in (things, absent):
            code, text = ask(served_plane.plane, stranger, name, MESSAGES[name](each))
            answers.append((code, without(each, text)))
            for id in (things.revision, things.runner, things.key, things.request):
                assert id not in answers[-1][1]
        assert answers[0] == answers[1]
        assert state_of(served_plane) == before

    check_all(check, MESSAGES)


#: Routes of the API, with what is asked about things: a path, and a body or a query.
ROUTES: Mapping[tuple[str, str], Callable[[Things], Mapping[str, Any]]] = {
    ("GET", "/applications/{owner}/{alias}/metadata"): lambda it: {},
    ("GET", "/applications/{owner}/{alias}/deployments"): lambda it: {},
    ("GET", "/applications/{owner}/{alias}/queue"): lambda it: {},
    ("DELETE", "/applications/{owner}/{alias}/queue"): lambda it: {},
    ("GET", "/runners/{id}"): lambda it: {},
    ("POST", "/logs/history"): lambda it: {"params": {"job_id": it.runner}},
    ("GET", "/logs/"): lambda it: {"params": {"app_name": it.app}},
    ("POST", "/files/missing_hashes"): lambda it: {"json": {"hashes": [it.hash]}},
    ("POST", "/files/app/multipart/{hash}/initiate"): lambda it: {"json": {}},
    ("PUT", "/files/app/multipart/{hash}/{id}/{number}"): lambda it: {
        "files": {"file_upload": ("chunk", b"mine", "application/octet-stream")}
    },
    ("POST", "/files/app/multipart/{hash}/{id}/complete"): lambda it: {
        "json": {"parts": [{"part_number": 1}], "metadata": {"mode": str(MODE)}}
    },
    ("POST", "/files/app/multipart/{hash}/{id}/cancel"): lambda it: {"json": {}},
    ("GET", "/dashboard/applications/{alias}/measurements"): lambda it: {},
    ("GET", "/dashboard/usages"): lambda it: {"params": {"runner": it.runner}},
    ("GET", "/dashboard/requests"): lambda it: {"params": {"application": it.app}},
    ("GET", "/dashboard/requests/{id}"): lambda it: {},
    ("GET", "/dashboard/requests/{id}/result"): lambda it: {},
    ("POST", "/dashboard/requests/{id}/cancel"): lambda it: {},
    ("POST", "/dashboard/requests/{id}/again"): lambda it: {},
    ("POST", "/dashboard/playground"): lambda it: {"json": {"application": it.app}},
    ("POST", "/dashboard/StopRunner"): lambda it: {"json": {"runner_id": it.runner}},
    ("POST", "/dashboard/KillRunner"): lambda it: {"json": {"runner_id": it.runner}},
    ("POST", "/dashboard/SetAlias"): lambda it: {
        "json": {"alias": it.app, "revision": it.revision}
    },
    ("POST", "/dashboard/RolloutApplication"): lambda it: {
        "json": {"application_name": it.app}
    },
    ("POST", "/dashboard/DeleteAlias"): lambda it: {"json": {"alias": it.app}},
    ("POST", "/dashboard/ListApplications"): lambda it: {"json": {"application_name": it.app}},
    ("POST", "/dashboard/ListSecrets"): lambda it: {"json": {"environment_name": it.stage}},
    ("POST", "/dashboard/RevokeUserKey"): lambda it: {"json": {"key_id": it.key}},
    ("GET", "/files/list/{path:.*}"): lambda it: {},
    ("GET", "/files/file/{path:.*}"): lambda it: {},
    ("DELETE", "/files/file/{path:.*}"): lambda it: {},
    ("PUT", "/files/file/multipart/{path:.*}/{id}/{number}"): lambda it: {
        "files": {"file_upload": ("chunk", b"mine", "application/octet-stream")}
    },
    ("POST", "/files/file/multipart/{path:.*}/{id}/complete"): lambda it: {
        "json": {"parts": [{"part_number": 1}]}
    },
    ("POST", "/files/file/multipart/{path:.*}/{id}/cancel"): lambda it: {},
    ("POST", "/files/rename/{path:.*}"): lambda it: {"json": {"destination": "other"}},
    ("POST", "/files/dir/check_hash/{path:.*}"): lambda it: {"json": {"hash": it.hash}},
    ("GET", "/get/{name}/{key:.+}"): lambda it: {},
    ("DELETE", "/delete/{name}/{key:.+}"): lambda it: {},
    ("DELETE", "/workflows/{owner}/{name}"): lambda it: {},
    ("POST", "/tokens/"): lambda it: {"json": {"allowed_apps": [f"owner/{it.app}"]}},
}

#: Routes that name nothing that is there, and one whose answer has no end, which reads as
#: the one before it does.
UNNAMED_ROUTES = {
    ("GET", "/users/current"),
    ("GET", "/users/teams"),
    ("POST", "/storage/auth/token"),
    ("POST", "/storage/upload/initiate"),
    ("POST", "/storage/upload/initiate-multipart"),
    ("POST", "/files/upload"),
    ("POST", "/files/upload/multipart"),
    ("POST", "/files/file/multipart/{path:.*}/initiate"),
    ("POST", "/files/file/local/{path:.*}"),
    ("POST", "/files/file/url/{path:.*}"),
    ("PUT", "/set/{name}/{key:.+}"),
    ("POST", "/workflows/"),
    ("GET", "/applications/metrics"),
    ("GET", "/applications/failures"),
    ("POST", "/logs/stream"),
    ("GET", "/dashboard/live"),
    ("POST", "/dashboard/links"),
    ("POST", "/dashboard/session"),
    ("GET", "/dashboard/session"),
    ("DELETE", "/dashboard/session"),
    ("POST", "/dashboard/ListEnvironments"),
    ("POST", "/dashboard/CreateUserKey"),
    ("GET", "/dashboard/keys"),
    ("GET", "/dashboard/machines"),
}


@pytest.fixture
def routes(served_plane: Any, monkeypatch: pytest.MonkeyPatch) -> list[ApiRoute]:
    """The routes of the API that need a key."""
    found: list[ApiRoute | OpenRoute] = []
    monkeypatch.setattr(
        deciders, "make_application", lambda _, __, routes: found.extend(routes)
    )
    served_plane.plane.here(served_plane.plane.plane.decider._make_api)
    return [each for each in found if isinstance(each, ApiRoute)]


def test_each_route_is_in_the_table(routes: list[ApiRoute]):
    """No route of the API is without its requests here."""
    assert {(it.method, it.path) for it in routes} == ROUTES.keys() | UNNAMED_ROUTES


def fill_path(path: str, things: Things) -> str:
    id = things.runner if path.startswith("/runners") else things.upload
    id = things.request if "/requests/" in path else id
    path = path.replace(":.*", "").replace(":.+", "")
    names = {"owner": "owner", "alias": things.app, "name": things.app, "key": things.app}
    return path.format(**names, id=id, hash=things.hash, number=1, path=things.app)


def test_route_asked_about_things_of_another_account(
    served_plane: Any, things: Things, stranger: str, check_all: Callable[..., None]
):
    """A route answers a stranger as if there were nothing, and changes nothing."""

    def check(route: tuple[str, str]) -> None:
        before = state_of(served_plane)
        answers = []
        method, path = route
        with served_plane.plane.client(stranger) as client:
            for each in (things, Things.absent()):
                answer = client.request(method, fill_path(path, each), **ROUTES[route](each))
                text = without(each, answer.text).replace(f"owner/{each.app}", "owner/<app>")
                if path.endswith("/initiate"):
                    text = ", ".join(answer.json())
                answers.append((answer.status_code, text))
        assert answers[0] == answers[1]
        assert state_of(served_plane) == before

    check_all(check, sorted(ROUTES))


#: What the gateways are asked about an application.
ASKED = [
    ("run", "POST", "/owner/{app}"),
    ("run", "GET", "/owner/{app}/any"),
    ("queue", "POST", "/owner/{app}"),
    ("queue", "GET", "/owner/{app}/requests/{request}"),
    ("queue", "GET", "/owner/{app}/requests/{request}/status"),
    ("queue", "GET", "/owner/{app}/requests/{request}/status/stream"),
    ("queue", "PUT", "/owner/{app}/requests/{request}/cancel"),
    ("ws", "GET", "/owner/{app}"),
]


def test_gateway_asked_for_a_private_application_of_another_account(
    served_plane: Any,
    things: Things,
    strangers: Mapping[str, str],
    check_all: Callable[..., None],
):
    """
    The gateways answer a stranger as if there were no such application, whatever the key
    may do.
    """

    def check(row: tuple[str, tuple[str, str, str]]) -> None:
        preset, (listener, method, path) = row
        answers = []
        with served_plane.client(listener, strangers[preset]) as client:
            for each in (things, Things.absent()):
                asked = path.format(app=each.app, request=each.request)
                answer = client.request(method, asked, json={} if method == "POST" else None)
                text = answer.text.replace(f"owner/{each.app}", "owner/<app>")
                answers.append((answer.status_code, without(each, text)))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404

    check_all(check, itertools.product(sorted(PRESETS), ASKED))


def test_request_of_another_account_to_a_shared_application(served_plane: Any, stranger: str):
    """Who may use an application sees their own requests there, and no others."""
    served_plane.deploy("ours", auth_mode=wire.SHARED)
    request = served_plane.submit("ours")
    served_plane.finish("ours", request)
    with served_plane.client("queue", stranger) as client:
        for id in (request, secrets.token_hex(16)):
            for route in ("", "/status", "/status/stream"):
                answer = client.get(f"/owner/ours/requests/{id}{route}")
                assert (answer.status_code, answer.json()["detail"]) == (
                    404,
                    "There is no such request.",
                )
            assert client.put(f"/owner/ours/requests/{id}/cancel").status_code == 404


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_methods_that_a_preset_does_not_allow(served_plane: Any, preset: str):
    """A key calls no method whose permission it lacks, whatever it is asked."""
    plane = served_plane.plane
    key = plane.make_key(policy_preset=preset)
    for name in sorted(PROCEDURES):
        if PROCEDURES[name] in PRESETS[preset]:
            continue
        request = getattr(isolate_proto, SERVICE.methods_by_name[name].input_type.name)()
        code, text = ask(plane, key, name, request)
        assert (code, "Insufficient permissions" in text) == (
            grpc.StatusCode.PERMISSION_DENIED,
            True,
        ), name


def test_routes_that_a_key_does_not_allow(
    served_plane: Any, things: Things, routes: list[ApiRoute]
):
    """A route is refused to a key that has all permissions but the one for it."""
    keys: dict[str, str] = {}
    for each in routes:
        if each.permission not in keys:
            keys[each.permission] = make_key_without(served_plane.plane, each.permission)
        with served_plane.plane.client(keys[each.permission]) as client:
            answer = client.request(each.method, fill_path(each.path, things))
        assert answer.status_code == 403, (each.method, each.path)
        assert each.permission in answer.json()["detail"]


def make_key_without(plane: Any, permission: str) -> str:
    request = wire.CreateUserKeyRequest()
    request.policy.permissions.extend(sorted(PERMISSIONS.keys() - {permission}))
    made = plane.call("CreateUserKey", request)
    return f"{made.key_id}:{made.key_secret}"


def test_lists_show_no_secrets(served_plane: Any, things: Things):
    """Neither the list of keys nor that of secrets has what was given once."""
    plane = served_plane.plane
    key = plane.make_key()
    plane.call("SetSecret", wire.SetSecretRequest(name="WORD", value="very-secret-word"))
    shown = str(plane.call("ListUserKeys", wire.ListUserKeysRequest()))
    shown += str(plane.call("ListSecrets", wire.ListSecretsRequest()))
    assert key.partition(":")[0] in shown
    hashed = hashlib.sha256(key.partition(":")[2].encode()).hexdigest()
    for secret in (key.partition(":")[2], hashed, plane.key.partition(":")[2], "very-secret"):
        assert secret not in shown
