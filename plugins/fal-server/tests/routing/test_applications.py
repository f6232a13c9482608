"""Applications: how their settings change."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from fal_server.routing.applications import Application
from fal_server.routing.revision_pools import make_closed_pool
from fal_server.routing.takeovers import Takeover
from fal_server.specs.scaling import Scaling
from fal_server.state.tasks import Tasks


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


class FailingTakeover(Takeover):
    """A takeover whose first runner does not come up."""

    async def try_first_runner(self) -> Any:
        return SimpleNamespace(why_it_ended="It has run out of memory.")


def test_deployment_that_fails_is_told_once_that_is_stored():
    """
    Nobody is told that a deployment has failed before it is stored: after a kill, the next
    server would begin it once more.
    """

    async def fail() -> list[bool]:
        found = []
        pool = make_closed_pool()
        application = Application(
            "user|me", "me", "app", auth_mode=0, pool=pool, revision="one"
        )

        async def abandon(why: str) -> None:
            found.append(application.takeover is takeover and not takeover.settled.is_set())

        takeover = FailingTakeover(make_closed_pool(), "two", previous="one", abandon=abandon)
        tasks = Tasks()
        application.begin(takeover, tasks)
        await takeover.settled.wait()
        await tasks.close()
        return [*found, application.takeover is None]

    assert asyncio.run(fail()) == [True, True]
