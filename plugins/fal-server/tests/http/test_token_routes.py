"""
The routes that make tokens: what these are good for.
"""

from __future__ import annotations


def test_tokens_of_uploads(plane):
    """
    A token uploads files, and does nothing else.
    """
    with plane.client() as client:
        made = client.post("/storage/auth/token", json={}).json()
        client.headers["Authorization"] = f"{made['token_type']} {made['token']}"
        sent = client.post(
            "/files/upload", content=b"words", headers={"X-Fal-File-Name": "../a b.txt"}
        ).json()
        assert client.get(sent["access_url"]).content == b"words"
        assert sent["access_url"].endswith("/a_b.txt")
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
