"""Vaults: the secrets of accounts, by stage."""

from __future__ import annotations

import grpc
import pytest
from cryptography.exceptions import InvalidTag
from isolate_proto import (
    CreateEnvironmentRequest,
    DeleteEnvironmentRequest,
    ListSecretsRequest,
    SetSecretRequest,
)

from fal_server.store.vaults import secrets


def account_of(plane, key) -> str:
    with plane.client(key) as client:
        return client.get("/users/current").json()["user_id"]


def test_secrets_are_per_stage_and_given_by_name(plane, key):
    """
    A runner gets the secrets that it names, or those that are exposed by default, of
    its stage and account.
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
    """A new value alone does not expose a secret."""
    request = SetSecretRequest(name="A", value="1", default_exposed=False)
    plane.call("SetSecret", request, key=key)
    plane.call("SetSecret", SetSecretRequest(name="A", value="2"), key=key)
    account, vault = account_of(plane, key), plane.plane.vault
    assert plane.run(vault.values(account, "main")) == {}
    assert plane.run(vault.values(account, "main", ["A"])) == {"A": "2"}


def test_secret_without_a_value_is_removed(plane, key, refusal_of):
    """A secret without a value is removed; one that is not there is not found."""
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
    ids=["digit", "sign", "zero", "long", "stage"],
)
def test_invalid_secrets_are_refused(plane, key, request_, code, refusal_of):
    """
    A secret that cannot be an environment variable is refused, and the error does not show
    its value.
    """
    found, details = refusal_of(plane, "SetSecret", request_, key)
    assert found is code
    assert "1" * 100 not in details


def test_moved_value_cannot_be_decrypted(plane, key):
    """A value that is moved to another name in the database cannot be decrypted there."""
    plane.call("SetSecret", SetSecretRequest(name="A", value="1"), key=key)
    moved = secrets.update().where(secrets.c.name == "A").values(name="B")
    account = account_of(plane, key)
    chosen = moved.where(secrets.c.account_id == account)
    plane.run(
        plane.plane.database.write(lambda connection: connection.execute(chosen).rowcount)
    )
    with pytest.raises(InvalidTag):
        plane.run(plane.plane.vault.values(account, "main"))
