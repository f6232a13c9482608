"""
Applications: how their settings change.
"""

from __future__ import annotations

import attrs
import pytest

from fal_server.routing.applications import Application
from fal_server.routing.revision_pools import make_closed_pool
from fal_server.routing.takeovers import Takeover
from fal_server.specs.scaling import Scaling


@pytest.mark.parametrize("serves", [False, True], ids=["waits", "serves"])
@pytest.mark.parametrize(("revision", "multiplexing"), [("one", 5), ("two", 3)])
def test_settings_that_change_during_a_deployment(
    serves: bool, revision: str, multiplexing: int
):
    """
    The pool that is to take over gets settings that change, whether it has the requests
    already or not; of those that come with a revision it keeps what another one declares.
    """
    pool, following = make_closed_pool(), make_closed_pool()
    following.scaling = Scaling(max_multiplexing=3)
    application = Application("user|me", "me", "app", auth_mode=0, pool=pool, revision="one")
    application.takeover = Takeover(following, revision)
    if serves:
        application.pool = following
    changed = Scaling(keep_alive=77.0, max_multiplexing=5)
    application.set_scaling(changed)
    assert following.scaling == attrs.evolve(changed, max_multiplexing=multiplexing)
    assert application.scaling == changed
    assert serves or pool.scaling == changed
