"""Operations on keys, secrets and stages."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from fal_core.errors import OptionError
from fal_host_serverless import KeyPreset, KeyScope, SyncServerlessClient

#: The time that the recorder gives to everything.
MOMENT = datetime(2031, 2, 3, 4, 5, tzinfo=timezone.utc)


def test_keys(asking: SyncServerlessClient, recorder: Any):
    """A scope is sent as the preset that it stands for; presets and permissions as they are."""
    assert asking.keys.create(scope=KeyScope.ADMIN, description="mine") == ("k", "s3cret")
    request = recorder.last("CreateUserKey")
    assert (request.policy_preset, request.alias) == ("FULL", "mine")
    assert not request.HasField("scope")
    asking.keys.create(scope="api")
    assert recorder.last("CreateUserKey").policy_preset == "API"
    asking.keys.create(preset=KeyPreset.DEPLOY)
    assert recorder.last("CreateUserKey").policy_preset == "DEPLOY"
    asking.keys.create(preset="readonly")
    assert recorder.last("CreateUserKey").policy_preset == "READONLY"
    asking.keys.create(permissions=["serverless:apps:run", "models:requests:submit"])
    request = recorder.last("CreateUserKey")
    assert list(request.policy.permissions) == ["serverless:apps:run", "models:requests:submit"]
    assert not request.HasField("policy_preset")
    (key,) = asking.keys.list()
    assert (key.key_id, key.scope, key.created_at) == ("k", KeyScope.API, MOMENT)
    asking.keys.revoke("k")
    assert recorder.last("RevokeUserKey").key_id == "k"


@pytest.mark.parametrize(
    ("grant", "words"),
    [
        ({"scope": "all"}, "'admin' or 'api'"),
        ({"preset": "all"}, "'full', 'api', .* or 'agent', not 'all'"),
        ({"permissions": "models"}, "list of names"),
        ({"permissions": [""]}, "list of names"),
        ({"permissions": []}, "could do nothing"),
        ({}, "one of 'scope', 'preset' and 'permissions'"),
        ({"scope": "api", "preset": "api"}, "one of 'scope', 'preset' and 'permissions'"),
    ],
)
def test_key_needs_one_grant(
    grant: dict[str, Any], words: str, asking: SyncServerlessClient, recorder: Any
):
    """A key needs exactly one valid scope, preset or list of permissions."""
    with pytest.raises(OptionError, match=words):
        asking.keys.create(**grant)
    assert recorder.asked == []


def test_secrets(asking: SyncServerlessClient, recorder: Any):
    """A secret is set with its stage; setting it without a value removes it."""
    asking.secrets.set("TOKEN", "value", "staging", default_exposed=False)
    request = recorder.last("SetSecret")
    assert (request.name, request.value, request.environment_name) == (
        "TOKEN",
        "value",
        "staging",
    )
    assert request.HasField("default_exposed")
    asking.secrets.unset("TOKEN")
    assert not recorder.last("SetSecret").HasField("value")
    (secret,) = asking.secrets.list()
    assert (secret.name, secret.created_at, secret.default_exposed) == ("TOKEN", MOMENT, None)


def test_stages(asking: SyncServerlessClient, recorder: Any):
    """Stages are listed, created and deleted."""
    made = asking.environments.create("staging", "for tests")
    assert (made.name, made.description, made.is_default) == ("staging", "for tests", False)
    (main,) = asking.environments.list()
    assert (main.name, main.description, main.is_default) == ("main", None, True)
    asking.environments.delete("staging")
    assert recorder.last("DeleteEnvironment").name == "staging"
