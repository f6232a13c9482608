"""Permissions: those that procedures ask for, and those of presets."""

from __future__ import annotations

import grpc
import pytest
from isolate_proto import (
    ListSecretsRequest,
    ListUserKeysRequest,
    SetSecretRequest,
)

from fal_server.access.permissions import PERMISSIONS, PRESETS, PROCEDURES, permissions_of
from fal_server.errors import Invalid
from fal_server.grpc.service import SERVICE
from fal_server.store.keys import keys


def test_every_procedure_asks_for_a_permission():
    """No procedure of the protocol is without a permission that there is."""
    assert set(PROCEDURES) == {method.name for method in SERVICE.methods}
    assert set(PROCEDURES.values()) <= set(PERMISSIONS)
    assert set().union(*PRESETS.values()) <= set(PERMISSIONS)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_preset_allows_what_it_says(plane, preset):
    """A key of a preset may call the procedures of its permissions, and no other."""
    key = plane.make_key(policy_preset=preset)
    for name, request in [
        ("ListUserKeys", ListUserKeysRequest()),
        ("ListSecrets", ListSecretsRequest()),
        ("SetSecret", SetSecretRequest(name="A", value="1")),
    ]:
        allowed = PROCEDURES[name] in PRESETS[preset]
        expected = grpc.StatusCode.OK if allowed else grpc.StatusCode.PERMISSION_DENIED
        assert plane.code_of(name, request, key=key) is expected, name


def test_permissions_of_a_preset_or_named_ones():
    """A preset counts before named permissions; unknown ones are refused with those there are."""
    assert permissions_of("BILLING", ["serverless:apps:run"]) == PRESETS["BILLING"]
    assert permissions_of("", ["serverless:apps:run"]) == {"serverless:apps:run"}
    for preset, named, known in (
        ("ROOT", (), "FULL"),
        ("", ("serverless:apps:run", "all"), "account:keys:read"),
        ("", (), "at least one permission"),
    ):
        with pytest.raises(Invalid, match=known):
            permissions_of(preset, named)


def test_presets_that_read_or_submit_alone():
    """No preset but the full one may do everything, and READONLY changes nothing."""
    assert [name for name in PRESETS if PRESETS[name] == set(PERMISSIONS)] == ["FULL"]
    assert all(each.endswith(":read") for each in PRESETS["READONLY"])
    assert "account:keys:read" not in PRESETS["READONLY"]


def test_keys_of_a_preset_have_what_it_has_got_since(plane, account):
    """A key for everything may also do what there was no permission for when it was made."""
    key = plane.make_key(policy_preset="FULL")
    fewer = keys.update().where(keys.c.id == key.partition(":")[0]).values(permissions=[])
    plane.run(plane.plane.database.write(lambda connection: connection.execute(fewer)))

    with plane.client(key) as client:
        assert client.get("/files/list//data").status_code == 200
