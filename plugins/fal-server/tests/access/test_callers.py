"""Callers: what they may do, and who they are."""

from __future__ import annotations

import attrs
import pytest

from fal_server.access.callers import Caller
from fal_server.errors import Forbidden

CALLER = Caller(
    user_id="user|1", nickname="ann", permissions=frozenset({"serverless:logs:read"})
)


def test_permission_that_a_caller_lacks():
    """A caller without a permission is told which one it is, and what it would allow."""
    CALLER.require("serverless:logs:read")
    with pytest.raises(Forbidden, match=r"may not list keys \(account:keys:read\)"):
        CALLER.require("account:keys:read")


def test_trace_is_no_part_of_who_calls():
    """
    A caller is the same whichever trace it sends, and neither that nor its permissions are
    shown where callers are logged.
    """
    traced = attrs.evolve(CALLER, trace={"TRACEPARENT": "00-1"})
    assert traced == CALLER
    assert "00-1" not in repr(traced)
    assert "serverless" not in repr(traced)
    assert attrs.evolve(CALLER, user_id="team|1") != CALLER
