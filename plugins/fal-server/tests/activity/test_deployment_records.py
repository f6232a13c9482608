"""The history of deployments."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire

from fal_server.activity import deployment_records
from fal_server.activity.deployment_records import (
    DEPLOY,
    SET,
    DeploymentRecord,
    DeploymentRecords,
    read_notes,
)
from fal_server.specs.scaling import Scaling
from fal_server.state.databases import Database
from fal_server.store.accounts import make_account
from fal_server.store.revisions import Revision, Revisions


@pytest.fixture
def owner(database: Database) -> str:
    return database.write_here(lambda connection: make_account(connection, "user", "ann").id)


def make_revision(owner: str, id: str) -> Revision:
    return Revision(
        id=id, account_id=owner, alias="app", stage="main", scaling=Scaling(), created_at=1.0
    )


def test_each_deployment_is_kept_with_how_it_ended(database: Database, owner: str):
    """
    A deployment is pending until its revision serves or has failed, or until another one, or
    the end of the application, comes before that.
    """

    async def main() -> None:
        revisions, records = Revisions(database), DeploymentRecords(database)
        request = RegisterApplicationRequest()

        async def outcomes() -> list[tuple[str, str]]:
            found = await records.list(owner, "app", most=10)
            return [(each.revision, each.outcome) for each in found]

        def record(revision: str, action: str = DEPLOY) -> DeploymentRecord:
            return DeploymentRecord(revision=revision, action=action, message="Why")

        first, second = make_revision(owner, "r1"), make_revision(owner, "r2")
        await revisions.add(first, request, wire.PRIVATE, record=record("r1"))
        assert await outcomes() == [("r1", "pending")]
        (alias,) = await revisions.aliases()
        await revisions.point(alias)
        assert await outcomes() == [("r1", "serving")]
        await revisions.add(second, request, wire.PRIVATE, rolling=True, record=record("r2"))
        await revisions.abandon(owner, "app", "r2", failed="It has ended.")
        (failed, _) = await records.list(owner, "app", most=2)
        assert (failed.outcome, failed.reason) == ("failed", "It has ended.")
        assert failed.ended_at is not None
        assert failed.ended_at >= failed.created_at
        await revisions.plan(alias, rolling=True, record=record("r2", SET))
        await revisions.plan(alias, rolling=True, record=record("r1", SET))
        await revisions.delete_alias(owner, "app", key_id="k1")
        assert await outcomes() == [
            ("", "deleted"),
            ("r1", "superseded"),
            ("r2", "superseded"),
            ("r2", "failed"),
            ("r1", "serving"),
        ]
        (gone,) = await records.list(owner, "app", most=1)
        assert (gone.action, gone.key_id) == ("delete", "k1")
        assert not await records.list(owner, "other", most=10)

    asyncio.run(main())


def test_oldest_records_go(database: Database, owner: str, monkeypatch: pytest.MonkeyPatch):
    """As many are kept of an application as its history shows."""
    monkeypatch.setattr(deployment_records, "_MOST", 3)

    def write(connection) -> None:
        row = {"account_id": owner, "alias": "app"}
        for number in range(8):
            made = DeploymentRecord(revision=f"r{number}", action=DEPLOY, created_at=number)
            deployment_records.begin(connection, row, made)

    database.write_here(write)
    found = asyncio.run(DeploymentRecords(database).list(owner, "app", most=10))
    assert [each.revision for each in found] == ["r7", "r6", "r5"]


def test_notes_that_are_no_text():
    """Metadata is what a client sends: what is no text is no note."""
    notes = Struct()
    assert read_notes(notes) == ("", {})
    notes.update({"message": 3, "annotations": ["a"]})
    assert read_notes(notes) == ("", {})
    notes.update({"message": "Why", "annotations": {"commit": "1f2e", "number": 3}})
    assert read_notes(notes) == ("Why", {"commit": "1f2e"})


def make_content(facts: dict[str, Any]) -> Struct:
    """Return metadata of a revision."""
    content = Struct()
    content.update(facts)
    return content


def test_notes_are_cut():
    """What comes with a deployment is kept as far as a reason is, and no more than some of it."""
    annotations = {f"{number}" + "n" * 300: "t" * 10_000 for number in range(100)}
    message, kept = read_notes(
        make_content({"message": "m" * 10_000, "annotations": annotations})
    )
    assert len(message) == 4096
    assert len(kept) == 64
    assert {(len(name), len(text)) for name, text in kept.items()} == {(200, 4096)}
    content = make_content({"message": "small", "annotations": {"a": "b", "c": 1}})
    assert read_notes(content) == ("small", {"a": "b"})
