"""
Permissions: those that procedures ask for, and those of presets.
"""

from __future__ import annotations

import grpc
import pytest
from isolate_proto import (
    ListSecretsRequest,
    ListUserKeysRequest,
    SetSecretRequest,
)

from fal_server.access.permissions import PERMISSIONS, PRESETS, PROCEDURES
from fal_server.grpc.service import SERVICE


def test_every_procedure_asks_for_a_permission():
    """
    No procedure of the protocol is without a permission that there is.
    """
    assert set(PROCEDURES) == {method.name for method in SERVICE.methods}
    assert set(PROCEDURES.values()) <= set(PERMISSIONS)
    assert set().union(*PRESETS.values()) <= set(PERMISSIONS)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_preset_allows_what_it_says(plane, preset):
    """
    A key of a preset may call the procedures of its permissions, and no other.
    """
    key = plane.make_key(policy_preset=preset)
    for name, request in [
        ("ListUserKeys", ListUserKeysRequest()),
        ("ListSecrets", ListSecretsRequest()),
        ("SetSecret", SetSecretRequest(name="A", value="1")),
    ]:
        allowed = PROCEDURES[name] in PRESETS[preset]
        expected = grpc.StatusCode.OK if allowed else grpc.StatusCode.PERMISSION_DENIED
        assert plane.code_of(name, request, key=key) is expected, name
