"""Function pools: which calls share runners."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from bare_runners import make_runner

from fal_core.environments import CurrentEnvironment
from fal_server.routing import function_pools
from fal_server.routing.function_pools import FunctionPools
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.specs.scaling import Scaling

SPEC = RunnerSpec(
    name="work",
    owner="user|1",
    environment=CurrentEnvironment(),
    definition=b"function and arguments",
    setup_definition=b"setup",
    machine_type="S",
    secrets=("A",),
    files=(("hash", "path"),),
    mounts=("/data/a",),
)


@pytest.fixture
def pools(plane: Any) -> Iterator[FunctionPools]:
    """Pools without runners."""
    made = FunctionPools(plane.plane.launcher, plane.plane.functions._payloads)
    yield made
    plane.here(made.close)


def test_calls_that_differ_in_their_arguments_share_runners(plane, pools):
    """
    Calls of one function share a pool, whose runners have one call at a time: a call is
    cancelled by ending its runner.
    """
    scaling = Scaling(max_multiplexing=4, startup_timeout=3)

    def find() -> list[Any]:
        other = attrs.evolve(SPEC, definition=b"other arguments", variables={"TRACE": "1"})
        return [pools.find(spec, scaling) for spec in (SPEC, other)]

    first, second = plane.here(find)
    assert first is second
    assert (first.scaling.max_multiplexing, first.scaling.startup_timeout) == (1, None)
    assert list(pools.pools) == [first]


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "user|2"},
        {"name": "other"},
        {"asked": "with another password"},
        {"machine_type": "M"},
        {"setup_definition": b"other"},
        {"stage": "dev"},
        {"secrets": None},
        {"secrets": ()},
        {"files": ()},
        {"mounts": ("/data/b",)},
    ],
    ids=str,
)
def test_calls_that_need_other_runners_share_none(plane, pools, change):
    """
    A runner serves no call that differs in anything that a runner gets once: its account,
    its environment, its secrets and its files.
    """

    def find(spec: RunnerSpec, **scaling: Any) -> Any:
        return pools.find(spec, Scaling(**scaling))

    first = plane.here(find, SPEC)
    assert plane.here(find, attrs.evolve(SPEC, **change)) is not first
    assert plane.here(lambda: find(SPEC, keep_alive=3)) is not first
    assert plane.here(find, SPEC) is first


def test_closed_pool_is_replaced(plane, pools):
    """A pool that accepts no more calls is replaced by a new one."""

    def main() -> None:
        first = pools.find(SPEC, Scaling())
        first.kill()
        second = pools.find(SPEC, Scaling())
        assert second is not first
        assert list(pools.pools) == [second]

    plane.here(main)


def test_pools_without_runners_are_dropped(plane, pools, monkeypatch):
    """Among many pools, those that have runners stay."""
    monkeypatch.setattr(function_pools, "_MOST_POOLS", 3)

    def main() -> None:
        kept = pools.find(SPEC, Scaling())
        kept.adopt(make_runner(plane, plane.plane.launcher.http, changed=kept.changed))
        for number in range(10):
            newest = pools.find(attrs.evolve(SPEC, name=f"work-{number}"), Scaling())
            assert len(pools.pools) <= 4
        assert kept in pools.pools
        assert newest in pools.pools

    plane.here(main)


def test_id_of_an_environment_is_kept_while_there_are_runners(plane, pools):
    """
    The id of an environment is computed again only for a pool whose runners have all ended,
    as their environment may be another by then.
    """

    class Counted(CurrentEnvironment):
        @property
        def key(self) -> str:
            counted.append(True)
            return f"key-{len(counted)}"

    async def main() -> None:
        spec = attrs.evolve(SPEC, environment=Counted())
        pool = pools.find(spec, Scaling())
        assert await pools.environment_id(pool, spec) == "key-1"
        assert await pools.environment_id(pool, spec) == "key-2"
        runner = make_runner(plane, plane.plane.launcher.http, changed=pool.changed)
        pool.adopt(runner)
        assert await pools.environment_id(pool, spec) == "key-2"
        runner.drain()
        assert await pools.environment_id(pool, spec) == "key-3"

    counted: list[bool] = []
    plane.run(main())
