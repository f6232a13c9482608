"""Revisions: kept as they were registered, and led to by aliases."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire

from fal_server.errors import NotFound
from fal_server.specs.scaling import Scaling
from fal_server.state.databases import Database
from fal_server.store.accounts import make_account
from fal_server.store.revisions import Revision, Revisions, full_alias


@pytest.fixture
def owner(database: Database) -> str:
    """The id of an account."""
    return database.write_here(lambda it: make_account(it, "user", "owner")).id


def make_revision(owner: str, id: str, **fields: Any) -> Revision:
    given = {"alias": "app", "stage": "main", "scaling": Scaling(), "created_at": 1.0, **fields}
    return Revision(id=id, account_id=owner, **given)


def test_alias_leads_to_the_newest_revision(database: Database, owner: str):
    """
    A revision is kept with its request and its scaling, and its alias leads to the one that
    was added last, or to that it is pointed to.
    """
    scaling = Scaling(max_concurrency=7, machine_types=("S", "M"), request_timeout=1.5)
    request = RegisterApplicationRequest(application_name="app")
    request.function.definition = bytes(range(256))

    async def main() -> None:
        revisions = Revisions(database)
        host = "fal.example.com:8443"
        first = make_revision(owner, "r1", scaling=scaling, server_host=host)
        second = make_revision(owner, "r2", created_at=2.0)
        await revisions.add(first, request, wire.PUBLIC)
        (alias,) = await revisions.aliases()
        assert (alias.owner_name, alias.alias, alias.stage) == ("owner", "app", "main")
        assert (alias.revision, alias.auth_mode, alias.scaling) == ("r1", wire.PUBLIC, scaling)
        await revisions.add(second, RegisterApplicationRequest(), wire.PRIVATE)
        (alias,) = await revisions.aliases()
        assert (alias.revision, alias.auth_mode) == ("r2", wire.PRIVATE)
        pointed = attrs.evolve(alias, revision="r1", auth_mode=wire.SHARED, scaling=Scaling())
        await revisions.point(pointed)
        (alias,) = await revisions.aliases()
        assert (alias.revision, alias.scaling) == ("r1", Scaling())
        assert await revisions.find(owner, "r1") == first
        assert await revisions.request_of("r1") == request
        await revisions.delete_alias(owner, "app")
        assert await revisions.aliases() == []
        await revisions.delete("r1")
        with pytest.raises(NotFound, match="'r1' was not found"):
            await revisions.request_of("r1")

    asyncio.run(main())


def test_revisions_are_listed_by_alias_and_stage(database: Database, owner: str):
    """
    The revisions of an account are listed, the newest first: all, those of an alias in its
    stage, or those of a stage. Other accounts do not find them.
    """

    async def main() -> None:
        revisions = Revisions(database)
        for number, (alias, stage) in enumerate(
            [("app", "main"), ("app", "main"), ("app--dev", "dev"), ("other--dev", "dev")]
        ):
            made = make_revision(
                owner, f"r{number}", alias=alias, stage=stage, created_at=float(number)
            )
            await revisions.add(made, RegisterApplicationRequest(), wire.PRIVATE)
        for alias, stage, expected in [
            (None, None, ["r3", "r2", "r1", "r0"]),
            ("app", None, ["r1", "r0"]),
            ("app", "main", ["r1", "r0"]),
            ("app", "dev", ["r2"]),
            (None, "dev", ["r3", "r2"]),
            ("none", None, []),
        ]:
            found = await revisions.list(owner, alias, stage)
            assert [each.id for each in found] == expected, (alias, stage)
        assert await revisions.list("user|other", None, None) == []
        with pytest.raises(NotFound):
            await revisions.find("user|other", "r0")

    asyncio.run(main())


def test_scaling_of_an_alias_is_its_own(database: Database, owner: str):
    """Changing how an alias scales changes neither other aliases nor the revision."""

    async def main() -> None:
        revisions = Revisions(database)
        revision = make_revision(owner, "r1")
        await revisions.add(revision, RegisterApplicationRequest(), wire.PRIVATE)
        (alias,) = await revisions.aliases()
        await revisions.point(attrs.evolve(alias, alias="other"))
        await revisions.set_scaling(owner, "other", Scaling(keep_alive=77))
        found = {each.alias: each.scaling.keep_alive for each in await revisions.aliases()}
        assert found == {"app": 10.0, "other": 77}
        assert (await revisions.find(owner, "r1")).scaling == Scaling()

    asyncio.run(main())


def test_planned_takeover(database: Database, owner: str):
    """
    An alias that is to lead to another revision leads to the previous one until it is
    pointed there, or that is abandoned; a change of its scaling holds for both.
    """

    async def main() -> None:
        revisions = Revisions(database)
        request = RegisterApplicationRequest()
        await revisions.add(make_revision(owner, "r1"), request, wire.PRIVATE)
        scaling = Scaling(max_multiplexing=4)
        second = make_revision(owner, "r2", scaling=scaling)
        await revisions.add(second, request, wire.PUBLIC, rolling=False)
        (alias,) = await revisions.aliases()
        assert (alias.revision, alias.auth_mode) == ("r1", wire.PRIVATE)
        await revisions.set_scaling(owner, "app", Scaling(keep_alive=77))
        ((planned, rolling),) = await revisions.planned()
        assert (planned.revision, planned.auth_mode, rolling) == ("r2", wire.PUBLIC, False)
        assert planned.scaling == Scaling(keep_alive=77, max_multiplexing=4)
        await revisions.abandon(owner, "app", "r1")
        assert await revisions.planned()
        await revisions.abandon(owner, "app", "r2")
        assert not await revisions.planned()
        await revisions.plan(planned, rolling=True)
        assert await revisions.planned() == [(planned, True)]
        await revisions.point(planned)
        assert not await revisions.planned()
        assert await revisions.aliases() == [planned]
        await revisions.plan(planned, rolling=True)
        await revisions.delete_alias(owner, "app")
        assert not await revisions.planned()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "stage", "alias"),
    [
        ("app", "", "app"),
        ("app", "main", "app"),
        ("app", "dev", "app--dev"),
        ("app--dev", "dev", "app--dev"),
        ("app--dev", "test", "app--dev--test"),
    ],
)
def test_alias_of_a_stage(name: str, stage: str, alias: str):
    """Outside of the default stage an alias ends with the stage, once."""
    assert full_alias(name, stage) == alias
