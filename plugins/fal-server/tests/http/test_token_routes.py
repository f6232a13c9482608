"""The routes that make tokens: what these are good for."""

from __future__ import annotations

from isolate_proto import controller_pb2 as wire


def test_tokens_of_uploads(plane):
    """A token uploads files, and does nothing else."""
    with plane.client() as client:
        made = client.post("/storage/auth/token", json={}).json()
        client.headers["Authorization"] = f"{made['token_type']} {made['token']}"
        sent = client.post(
            "/files/upload", content=b"words", headers={"X-Fal-File-Name": "../a b.txt"}
        ).json()
        assert client.get(sent["access_url"]).content == b"words"
        assert sent["access_url"].endswith("/a_b.txt")
        for method, path in (
            ("DELETE", "/files/file//data"),
            ("POST", "/files/missing_hashes"),
            ("POST", "/storage/auth/token"),
        ):
            refused = client.request(method, path)
            assert refused.status_code == 403, path
            assert "for something else" in refused.json()["detail"]
        for path in ("/storage/auth/token", "/tokens/"):
            assert client.post(path, json={"allowed_apps": ["one"]}).status_code == 403
        assert client.get("/users/current").status_code == 403


def test_tokens_of_applications(served_plane):
    """
    A token calls the applications that it names, for its account and for as long as it
    says, and does nothing else.
    """
    asked = {"allowed_apps": ["one"], "token_expiration": 60}
    with served_plane.plane.client() as client:
        token = client.post("/tokens/", json=asked).json()
        for wrong in (
            {},
            {"allowed_apps": "one"},
            {"allowed_apps": []},
            {**asked, "token_expiration": 0},
            {**asked, "token_expiration": "soon"},
        ):
            answer = client.post("/tokens/", json=wrong)
            assert answer.status_code == 422, wrong
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.post("/tokens/", json=asked).status_code == 403
        assert client.get("/users/current").status_code == 403
    with served_plane.client("run", key="") as client:
        for name, status in (("one", 200), ("two", 403)):
            served_plane.deploy(name)
            shown = {"Authorization": f"Bearer {token}"}
            assert client.post(f"/owner/{name}", json={}, headers=shown).status_code == status
            query = {"fal_jwt_token": token}
            assert client.post(f"/owner/{name}", json={}, params=query).status_code == status


def test_token_names_the_owner_of_its_applications(served_plane):
    """
    A token for an alias is for the application of its account, and never for one of another
    account with the same alias, which did not exist, or was not the only one, when it was
    made. An application of another account is named with its owner.
    """
    plane = served_plane.plane
    other = plane.add_user("other")

    def make(*names: str, key: str | None = None) -> str:
        with plane.client(key) as client:
            return client.post("/tokens/", json={"allowed_apps": names}).json()

    def status(token: str, path: str) -> int:
        with served_plane.client("run", key="") as client:
            shown = {"Authorization": f"Bearer {token}"}
            return client.post(path, json={}, headers=shown).status_code

    early = make("same", key=other)
    served_plane.deploy("same", auth_mode=wire.SHARED)
    alone = make("same", key=other)
    served_plane.deploy("same", auth_mode=wire.SHARED, key=other)
    both, named = make("same", key=other), make("owner/same", key=other)
    own, foreign = "/other/same", "/owner/same"
    assert (status(early, own), status(early, foreign)) == (200, 403)
    assert (status(alone, own), status(alone, foreign)) == (200, 200)
    assert (status(both, own), status(both, foreign)) == (200, 403)
    assert (status(named, own), status(named, foreign)) == (403, 200)
    plane.call("DeleteAlias", wire.DeleteAliasRequest(alias="same"), key=other)
    assert status(both, foreign) == 403


def test_token_for_a_private_application_of_another_account(served_plane):
    """
    A private application and none at all are refused alike, when the token is made and when
    it is used.
    """
    served_plane.deploy("hidden")
    key = served_plane.plane.add_user("curious")
    with served_plane.plane.client(key) as client:
        answers = [
            client.post("/tokens/", json={"allowed_apps": [f"owner/{name}"]})
            for name in ("hidden", "absent")
        ]
        token = client.post("/tokens/", json={"allowed_apps": ["hidden"]}).json()
    assert [each.status_code for each in answers] == [404, 404]
    assert answers[0].text.replace("hidden", "absent") == answers[1].text
    with served_plane.client("run", key="") as client:
        shown = {"Authorization": f"Bearer {token}"}
        for name in ("hidden", "absent"):
            assert client.post(f"/owner/{name}", json={}, headers=shown).status_code == 404
