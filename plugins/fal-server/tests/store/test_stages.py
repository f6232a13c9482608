"""
Stages, and the secrets in them.
"""

from __future__ import annotations

import grpc
import pytest
from cryptography.exceptions import InvalidTag
from isolate_proto import (
    CreateEnvironmentRequest,
    DeleteEnvironmentRequest,
    ListEnvironmentsRequest,
    ListSecretsRequest,
    SetSecretRequest,
)

from fal_server.store.vaults import secrets


@pytest.fixture
def key(plane, request) -> str:
    """
    The key of a user that the test has for itself.
    """
    return plane.add_user(f"u{abs(hash(request.node.name)) % 10**12}")


def account_of(plane, key) -> str:
    with plane.client(key) as client:
        return client.get("/users/current").json()["user_id"]


def refusal_of(plane, name, request, key) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        plane.call(name, request, key=key)
    return caught.value.code(), caught.value.details()


def test_every_account_has_a_default_stage(plane, key):
    """
    The environment ``main`` is there from the start, and stays.
    """
    (main,) = plane.call("ListEnvironments", ListEnvironmentsRequest(), key=key).environments
    assert (main.name, main.is_default, main.HasField("created_at")) == ("main", True, True)
    request = DeleteEnvironmentRequest(name="main")
    code, _ = refusal_of(plane, "DeleteEnvironment", request, key)
    assert code is grpc.StatusCode.FAILED_PRECONDITION


def test_stages_belong_to_one_account(plane, key):
    """
    An environment is made once, listed, and seen by its account alone.
    """
    request = CreateEnvironmentRequest(name="staging", description="before it counts")
    made = plane.call("CreateEnvironment", request, key=key).environment
    assert (made.name, made.description, made.is_default) == (
        "staging",
        "before it counts",
        False,
    )
    code, details = refusal_of(plane, "CreateEnvironment", request, key)
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert "staging" in details
    names = [
        each.name
        for each in plane.call("ListEnvironments", ListEnvironmentsRequest()).environments
    ]
    assert names == ["main"]


@pytest.mark.parametrize("name", ["", "A", "a--b", "-a", "a/b", "a" * 64, "a\n"])
def test_invalid_names_of_stages(plane, key, name):
    """
    A name that would not stand in an alias is refused.
    """
    request = CreateEnvironmentRequest(name=name)
    assert (
        refusal_of(plane, "CreateEnvironment", request, key)[0]
        is grpc.StatusCode.INVALID_ARGUMENT
    )


def test_removed_stage_takes_its_secrets_along(plane, key):
    """
    A stage that is created again has none of its earlier secrets.
    """
    create = CreateEnvironmentRequest(name="brief")
    plane.call("CreateEnvironment", create, key=key)
    secret = SetSecretRequest(name="A", value="1", environment_name="brief")
    plane.call("SetSecret", secret, key=key)
    plane.call("DeleteEnvironment", DeleteEnvironmentRequest(name="brief"), key=key)
    plane.call("CreateEnvironment", create, key=key)
    request = ListSecretsRequest(environment_name="brief")
    assert not plane.call("ListSecrets", request, key=key).secrets


def test_secrets_are_per_stage_and_given_by_name(plane, key):
    """
    A runner gets the secrets that it names, or those that are exposed by default, of
    its environment and account.
    """
    plane.call("CreateEnvironment", CreateEnvironmentRequest(name="staging"), key=key)
    for name, value, environment, exposed in [
        ("OPEN", "1", "", None),
        ("SHOWN", "2", "main", True),
        ("HIDDEN", "3", "main", False),
        ("OPEN", "4", "staging", None),
    ]:
        request = SetSecretRequest(
            name=name, value=value, environment_name=environment, default_exposed=exposed
        )
        plane.call("SetSecret", request, key=key)
    account, vault = account_of(plane, key), plane.plane.vault
    assert plane.run(vault.values(account, "main")) == {"OPEN": "1", "SHOWN": "2"}
    named = plane.run(vault.values(account, "main", ["HIDDEN", "OPEN", "NONE"]))
    assert named == {"HIDDEN": "3", "OPEN": "1"}
    assert plane.run(vault.values(account, "main", [])) == {}
    assert plane.run(vault.values(account, "staging")) == {"OPEN": "4"}
    assert plane.run(vault.values(account_of(plane, plane.key), "main")) == {}

    listed = plane.call("ListSecrets", ListSecretsRequest(), key=key).secrets
    told = {
        each.name: each.HasField("default_exposed") and each.default_exposed for each in listed
    }
    assert told == {"HIDDEN": False, "OPEN": False, "SHOWN": True}
    assert {each.environment_name for each in listed} == {"main"}


def test_changed_secrets_apply_at_once(plane, key):
    """
    After a secret is set or removed, or its stage is deleted, its earlier value is not used
    again.
    """
    account, vault = account_of(plane, key), plane.plane.vault

    def values() -> dict[str, str]:
        return dict(plane.run(vault.values(account, "brief")))

    def write(name: str, value: str | None) -> None:
        secret = SetSecretRequest(name=name, value=value, environment_name="brief")
        plane.call("SetSecret", secret, key=key)

    plane.call("CreateEnvironment", CreateEnvironmentRequest(name="brief"), key=key)
    assert values() == {}
    write("A", "1")
    assert values() == values() == {"A": "1"}
    write("A", "2")
    write("B", "3")
    assert values() == {"A": "2", "B": "3"}
    write("A", None)
    assert values() == {"B": "3"}
    plane.call("DeleteEnvironment", DeleteEnvironmentRequest(name="brief"), key=key)
    plane.call("CreateEnvironment", CreateEnvironmentRequest(name="brief"), key=key)
    assert values() == {}


def test_secret_keeps_its_exposure(plane, key):
    """
    A new value alone does not expose a secret.
    """
    request = SetSecretRequest(name="A", value="1", default_exposed=False)
    plane.call("SetSecret", request, key=key)
    plane.call("SetSecret", SetSecretRequest(name="A", value="2"), key=key)
    account, vault = account_of(plane, key), plane.plane.vault
    assert plane.run(vault.values(account, "main")) == {}
    assert plane.run(vault.values(account, "main", ["A"])) == {"A": "2"}


def test_secret_without_a_value_is_removed(plane, key):
    """
    A secret without a value is removed; one that is not there is not found.
    """
    plane.call("SetSecret", SetSecretRequest(name="A", value=""), key=key)
    plane.call("SetSecret", SetSecretRequest(name="A"), key=key)
    assert not plane.call("ListSecrets", ListSecretsRequest(), key=key).secrets
    code, details = refusal_of(plane, "SetSecret", SetSecretRequest(name="A"), key)
    assert code is grpc.StatusCode.NOT_FOUND
    assert "not found" in details


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (SetSecretRequest(name="1A", value="1"), grpc.StatusCode.INVALID_ARGUMENT),
        (SetSecretRequest(name="A=B", value="1"), grpc.StatusCode.INVALID_ARGUMENT),
        (SetSecretRequest(name="A", value="1\0"), grpc.StatusCode.INVALID_ARGUMENT),
        (SetSecretRequest(name="A", value="1" * 70_000), grpc.StatusCode.INVALID_ARGUMENT),
        (
            SetSecretRequest(name="A", value="1", environment_name="nowhere"),
            grpc.StatusCode.NOT_FOUND,
        ),
    ],
    ids=["digit", "sign", "zero", "long", "environment"],
)
def test_invalid_secrets_are_refused(plane, key, request_, code):
    """
    A secret that cannot be an environment variable is refused, and the error does not show
    its value.
    """
    found, details = refusal_of(plane, "SetSecret", request_, key)
    assert found is code
    assert "1" * 100 not in details


def test_moved_value_cannot_be_decrypted(plane, key):
    """
    A value that is moved to another name in the database cannot be decrypted there.
    """
    plane.call("SetSecret", SetSecretRequest(name="A", value="1"), key=key)
    moved = secrets.update().where(secrets.c.name == "A").values(name="B")
    account = account_of(plane, key)
    chosen = moved.where(secrets.c.account_id == account)
    plane.run(
        plane.plane.database.write(lambda connection: connection.execute(chosen).rowcount)
    )
    with pytest.raises(InvalidTag):
        plane.run(plane.plane.vault.values(account, "main"))
