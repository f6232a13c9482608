"""What the pages of the dashboard change, and what they ask of requests, keys and machines."""

from __future__ import annotations

import math
from typing import Any

import pytest


def test_key_that_may_not_is_refused(plane: Any):
    """The server refuses what a key may not do, whatever the pages offer."""
    with plane.client(plane.make_key(policy_preset="READONLY")) as client:
        assert client.get("/dashboard/keys").status_code == 403
        for name in ("StopRunner", "KillRunner", "SetAlias", "CreateUserKey", "DeleteAlias"):
            assert client.post(f"/dashboard/{name}", json={}).status_code == 403, name


@pytest.mark.parametrize(
    "body", ["[]", '{"no_such": 1}', '{"runner_id": {}}', '{"runner_id": "\\ud800"}', "{"]
)
def test_bodies_that_are_no_messages(plane: Any, body: str):
    """A body that is not what the method takes is refused in a sentence."""
    with plane.client() as client:
        answer = client.post("/dashboard/KillRunner", content=body)

    assert answer.status_code in (400, 404, 422)
    assert answer.json()["detail"]


def test_keys_are_created_and_revoked(plane: Any):
    """A key is created with at most what the session may do, and shown once."""
    with plane.client() as client:
        wanted = {"alias": "a note", "policy_preset": "API"}
        made = client.post("/dashboard/CreateUserKey", json=wanted).json()
        listed = {each["id"]: each for each in client.get("/dashboard/keys").json()["keys"]}
        assert listed[made["key_id"]]["alias"] == "a note"
        assert "key_secret" not in listed[made["key_id"]]
        with plane.client(f"{made['key_id']}:{made['key_secret']}") as other:
            assert other.get("/users/current").status_code == 200
            client.post("/dashboard/RevokeUserKey", json={"key_id": made["key_id"]})
            assert other.get("/users/current").status_code == 401


def test_errors_of_hosts_are_for_the_owner(plane: Any, monkeypatch: pytest.MonkeyPatch):
    """Why a host cannot be asked is told to the owner of the server; others see that it cannot."""
    (host,) = plane.plane.decider.launcher.hosts.hosts
    said = "Host local gets no runners: /opt/secret/place is not there"
    monkeypatch.setitem(host._told, "", (math.inf, None, said))
    problems = []
    for key in (plane.key, plane.add_user("watcher")):
        with plane.client(key) as client:
            (told,) = client.get("/dashboard/machines").json()["machines"]
            problems.append(told["problem"])

    assert problems == [said, "The host cannot be asked now."]


def test_machines_are_told(plane: Any):
    """The hosts of the server are told with what they have."""
    with plane.client() as client:
        (host,) = client.get("/dashboard/machines").json()["machines"]

    assert host["name"] == "local"
    assert host["own_runners"] == 0
    assert host["problem"] == ""
