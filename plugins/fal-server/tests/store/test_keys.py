"""
Keys: stored without their secrets.
"""

from __future__ import annotations

from isolate_proto import (
    SetSecretRequest,
)


def test_no_secret_is_stored_in_plain_text(plane):
    """
    The database has no secret of a key, and no secret of a user.
    """
    secret = plane.make_key().partition(":")[2]
    value = "kept-by-nobody-in-plain-text"
    plane.call("SetSecret", SetSecretRequest(name="QUIET", value=value))
    for path in plane.directory.path.glob("state.db*"):
        content = path.read_bytes()
        assert secret.encode() not in content
        assert value.encode() not in content
