"""Revisions, and which of them served before."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from fal_core.errors import OptionError
from fal_host_serverless.account.revisions import find_previous
from fal_host_serverless.values import DeploymentInfo, RevisionInfo

MOMENT = datetime(2031, 1, 2, tzinfo=timezone.utc)


def revisions(*ids: str) -> list[RevisionInfo]:
    return [
        RevisionInfo(revision=id, created_at=MOMENT, active_runners=0, machine_types=[])
        for id in ids
    ]


def history(*ended: tuple[str, str]) -> list[DeploymentInfo]:
    return [
        DeploymentInfo(revision=id, action="deploy", outcome=outcome, created_at=MOMENT)
        for id, outcome in ended
    ]


@pytest.mark.parametrize(
    ("current", "known", "ended", "previous"),
    [
        # Without a history, the next older one is the best guess.
        ("r3", ("r3", "r2", "r1"), (), "r2"),
        (None, ("r3", "r2"), (), "r3"),
        # What has failed did not serve, and what is deleted cannot.
        (
            "r4",
            ("r4", "r3", "r1"),
            [("r4", "serving"), ("r3", "failed"), ("r1", "serving")],
            "r1",
        ),
        ("r3", ("r3", "r1"), [("r3", "serving"), ("r2", "serving"), ("r1", "serving")], "r1"),
        # After a way back, the one that was left is before the present one.
        ("r1", ("r2", "r1"), [("r1", "serving"), ("r2", "serving"), ("r1", "serving")], "r2"),
        # A deleted application was at the last one that has served.
        (None, ("r2", "r1"), [("", "deleted"), ("r2", "serving")], "r2"),
    ],
)
def test_previous_revision(current, known, ended, previous):
    """The previous revision is the last other one that has served and is still there."""
    found = find_previous("app", current, revisions(*known), history(*ended))
    assert found == previous


def test_nothing_has_served_before():
    """Where there is no previous revision, the error says how to find one to name."""
    for known, ended in ((("r1",), ()), (("r2", "r1"), [("r2", "serving"), ("r1", "failed")])):
        with pytest.raises(OptionError, match="fal-core apps revisions app"):
            find_previous("app", known[0], revisions(*known), history(*ended))
