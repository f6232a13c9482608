"""The gRPC methods for stages and secrets: what they default to, and what they show."""

from __future__ import annotations

import time

import pytest
from isolate_proto import (
    CreateEnvironmentRequest,
    DeleteEnvironmentRequest,
    ListEnvironmentsRequest,
    ListSecretsRequest,
    SetSecretRequest,
)


@pytest.fixture
def key(plane) -> str:
    """The key of a user that the test has for itself."""
    return plane.add_user(f"u{time.monotonic_ns()}")


def test_stages_are_shown_with_their_descriptions(plane, key):
    """A stage that is made is returned as it is listed, with its description if it has one."""
    before = time.time()
    for name, description in (("dev", "For trials."), ("test", None)):
        request = CreateEnvironmentRequest(name=name, description=description)
        made = plane.call("CreateEnvironment", request, key=key).environment
        listed = plane.call("ListEnvironments", ListEnvironmentsRequest(), key=key).environments
        (shown,) = [each for each in listed if each.name == name]
        assert shown == made
        assert shown.description == (description or "")
        assert before - 1 <= shown.created_at.ToMicroseconds() / 1e6 <= time.time() + 1
    plane.call("DeleteEnvironment", DeleteEnvironmentRequest(name="dev"), key=key)
    listed = plane.call("ListEnvironments", ListEnvironmentsRequest(), key=key).environments
    assert [(each.name, each.is_default) for each in listed] == [
        ("main", True),
        ("test", False),
    ]


def test_secrets_without_a_stage_are_those_of_the_default(plane, key):
    """
    A request that names no stage means the default one. Secrets are shown without values,
    and an empty value is one.
    """
    plane.call("CreateEnvironment", CreateEnvironmentRequest(name="dev"), key=key)
    for stage, value in (("", "word"), ("dev", "")):
        request = SetSecretRequest(name="A", value=value, environment_name=stage)
        plane.call("SetSecret", request, key=key)
    for asked, shown in (("", "main"), ("main", "main"), ("dev", "dev")):
        request = ListSecretsRequest(environment_name=asked)
        (secret,) = plane.call("ListSecrets", request, key=key).secrets
        assert (secret.name, secret.environment_name) == ("A", shown)
        assert "word" not in str(secret)
    plane.call("SetSecret", SetSecretRequest(name="A"), key=key)
    assert not plane.call("ListSecrets", ListSecretsRequest(), key=key).secrets
    request = ListSecretsRequest(environment_name="dev")
    assert len(plane.call("ListSecrets", request, key=key).secrets) == 1


@pytest.mark.parametrize("exposed", [True, False, None])
def test_exposure_of_a_secret(plane, key, exposed):
    """Whether a secret is exposed is kept as it was asked for, and with a later value too."""
    request = SetSecretRequest(name="A", value="1", default_exposed=exposed)
    plane.call("SetSecret", request, key=key)
    plane.call("SetSecret", SetSecretRequest(name="A", value="2"), key=key)
    (secret,) = plane.call("ListSecrets", ListSecretsRequest(), key=key).secrets
    assert secret.HasField("default_exposed") is (exposed is not None)
    assert secret.default_exposed is bool(exposed)
