"""The routes that publish and delete workflows."""

from __future__ import annotations

from typing import Any

import grpc
import pytest


def publish(client: Any, **changed: Any) -> Any:
    content = {
        "name": "empty",
        "title": "Empty",
        "contents": {"nodes": {}, "output": {"word": "$input.word"}},
        "is_public": True,
        **changed,
    }
    return client.post("/workflows/", json=content)


def test_who_may_publish_and_call(served_plane: Any):
    """
    A workflow is published with the permission to deploy, called by everybody with a key if it
    is public and by its account alone otherwise, and deleted by its account.
    """
    plane = served_plane.plane
    with plane.client() as client:
        made = publish(client)
        assert made.status_code == 201
        assert made.json()["user_nickname"] == "owner"
        assert publish(client, name="own", is_public=False).status_code == 201
        longest = "x" * 128
        assert publish(client, name=longest).status_code == 201
        assert client.delete(f"/workflows/owner/{longest}").status_code == 204
    stranger = plane.add_user("stranger")
    with served_plane.client("run", stranger) as other:
        answer = other.post("/workflows/owner/empty", json={"word": "sesame"})
        assert answer.json() == {"word": "sesame"}
        assert other.post("/workflows/owner/empty", json={}).status_code == 422
        assert other.post("/workflows/owner/own", json={}).status_code == 404
    with served_plane.client("run", "no:key") as nobody:
        assert nobody.post("/workflows/owner/empty", json={}).status_code == 401
    with plane.client(stranger) as client:
        assert client.delete("/workflows/owner/empty").status_code == 404
    with plane.client(plane.make_key(policy_preset="API")) as client:
        assert publish(client).status_code == 403
        assert client.delete("/workflows/owner/empty").status_code == 403
    with plane.client() as client:
        for name in ("empty", "own"):
            assert client.delete(f"/workflows/owner/{name}").status_code == 204


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "a b"},
        {"name": "x" * 129},
        {"name": "-option"},
        {"contents": None},
        {"contents": {"nodes": {"a": {"type": "run", "app": "x"}}}},
        {"contents": {"nodes": {}, "output": "$a"}},
        *(
            {"contents": {"nodes": {"a": {"type": "run", "app": app, "input": {}}}}}
            for app in (
                "workflows/owner/empty",
                "owner/workflow-empty",
                "owner/workflow-empty/x",
            )
        ),
    ],
)
def test_workflows_that_are_refused(plane: Any, changed: dict[str, Any]):
    """A workflow that cannot be run is refused as released clients read it."""
    with plane.client() as client:
        refused = publish(client, **changed)
        assert refused.status_code == 422
        [problem] = refused.json()["detail"]
        assert problem["loc"] == ["body", "contents"]
        assert problem["msg"]


def test_workflows_and_applications_do_not_replace_each_other(served_plane: Any):
    """
    A workflow neither replaces nor deletes an application that has its alias already, and an
    application does not replace a workflow.
    """
    plane = served_plane.plane
    served_plane.deploy("workflow-taken")
    with plane.client() as client:
        for refused in (
            publish(client, name="taken"),
            client.delete("/workflows/owner/taken"),
        ):
            assert refused.status_code == 409
            assert "'workflow-taken' is no workflow" in refused.json()["detail"]
        assert publish(client, name="other").status_code == 201
        with pytest.raises(grpc.RpcError) as caught:
            served_plane.deploy("workflow-other")
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert publish(client, name="other").status_code == 201
        assert client.delete("/workflows/owner/other").status_code == 204
    assert plane.plane.catalog.find("owner", "workflow-taken")
