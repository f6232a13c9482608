"""Stages: the default one, their names, and their end."""

from __future__ import annotations

import grpc
import pytest
from isolate_proto import (
    CreateEnvironmentRequest,
    DeleteEnvironmentRequest,
    ListEnvironmentsRequest,
    ListSecretsRequest,
    SetSecretRequest,
)


def test_every_account_has_a_default_stage(plane, key, refusal_of):
    """The stage ``main`` is there from the start, and stays."""
    (main,) = plane.call("ListEnvironments", ListEnvironmentsRequest(), key=key).environments
    assert (main.name, main.is_default, main.HasField("created_at")) == ("main", True, True)
    request = DeleteEnvironmentRequest(name="main")
    code, _ = refusal_of(plane, "DeleteEnvironment", request, key)
    assert code is grpc.StatusCode.FAILED_PRECONDITION


def test_stages_belong_to_one_account(plane, key, refusal_of):
    """A stage is made once, listed, and seen by its account alone."""
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
def test_invalid_names_of_stages(plane, key, name, refusal_of):
    """A name that would not stand in an alias is refused."""
    request = CreateEnvironmentRequest(name=name)
    assert (
        refusal_of(plane, "CreateEnvironment", request, key)[0]
        is grpc.StatusCode.INVALID_ARGUMENT
    )


def test_removed_stage_takes_its_secrets_along(plane, key):
    """A stage that is created again has none of its earlier secrets."""
    create = CreateEnvironmentRequest(name="brief")
    plane.call("CreateEnvironment", create, key=key)
    secret = SetSecretRequest(name="A", value="1", environment_name="brief")
    plane.call("SetSecret", secret, key=key)
    plane.call("DeleteEnvironment", DeleteEnvironmentRequest(name="brief"), key=key)
    plane.call("CreateEnvironment", create, key=key)
    request = ListSecretsRequest(environment_name="brief")
    assert not plane.call("ListSecrets", request, key=key).secrets
