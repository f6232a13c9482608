"""Tokens: temporary credentials of an account."""

from __future__ import annotations

import pytest
from isolate_proto import ListUserKeysRequest, RevokeUserKeyRequest

from fal_server.access.identities import LOGIN


def token_of(plane, key, *, purpose=LOGIN, seconds=3600.0) -> tuple[str, str]:
    with plane.client(key) as client:
        user_id = client.get("/users/current").json()["user_id"]
    tokens = plane.plane.identity.tokens
    made = tokens.make(purpose, user_id, key=key.partition(":")[0], seconds=seconds)
    return made, user_id


def test_user_with_a_token_acts_for_their_teams(plane):
    """A token acts for its user, or for one of their teams if the request names it."""
    key = plane.add_user("member", team="crew")
    token, user_id = token_of(plane, key)
    with plane.client() as client:
        client.headers["Authorization"] = f"Bearer {token}"
        teams = client.get("/users/teams").json()
        assert [each["nickname"] for each in teams] == ["member", "crew"]
        assert [each["is_personal"] for each in teams] == [True, False]
        headers = {"X-Fal-User-Id": teams[1]["user_id"]}
        crew = client.get("/users/current", headers=headers).json()
        assert crew["nickname"] == "crew"
        assert [each["user_id"] for each in crew["members"]] == [user_id]
        with plane.client() as owner:
            stranger = owner.get("/users/current").json()["user_id"]
        answer = client.get("/users/current", headers={"X-Fal-User-Id": stranger})
        assert answer.status_code == 403


@pytest.mark.parametrize("fault", ["expired", "purpose", "forged", "cut", "long", "words"])
def test_invalid_tokens_are_refused(plane, fault):
    """A token that has expired, is for something else, or is forged, is refused."""
    token, _ = token_of(
        plane,
        plane.key,
        purpose="upload" if fault == "purpose" else LOGIN,
        seconds=-10 if fault == "expired" else 60,
    )
    head, body, signature = token.split(".")
    token = {
        "forged": f"{head}.{body[:-4]}AAAA.{signature}",
        "cut": body,
        "long": "a" * 8000,
        "words": "none at all",
    }.get(fault, token)
    with plane.client() as client:
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.get("/users/current").status_code == 401


def test_tokens_end_with_the_key_that_made_them(plane):
    """
    A revoked key ends its tokens for requests, for uploads and for one upload, and the
    login of a user ends when it is revoked.
    """
    key = plane.make_key()
    login, _ = token_of(plane, key)
    with plane.client(key) as client:
        uploads = client.post("/storage/auth/token", json={}).json()["token"]
        upload = client.post("/storage/upload/initiate", json={}).json()["upload_url"]
        parts = client.post("/storage/upload/initiate-multipart", json={}).json()["upload_url"]
        client.headers["Authorization"] = f"Bearer {login}"
        by_login = client.post("/storage/auth/token", json={}).json()["token"]

    def statuses() -> list[int]:
        found = []
        with plane.client() as client:
            for token in (uploads, by_login):
                client.headers["Authorization"] = f"Bearer {token}"
                found.append(client.post("/files/upload", content=b"a").status_code)
            client.headers["Authorization"] = f"Bearer {login}"
            found.append(client.get("/users/current").status_code)
            del client.headers["Authorization"]
            found.append(client.put(upload, content=b"a").status_code)
            found.append(client.put(f"{parts}/1", content=b"a").status_code)
            found.append(client.post(f"{parts}/1").status_code)
        return found

    assert statuses() == [200] * 6
    plane.call("RevokeUserKey", RevokeUserKeyRequest(key_id=key.partition(":")[0]))
    assert statuses() == [401] * 6


def test_token_of_a_login_for_a_team_ends_with_the_login(plane):
    """What a user makes for a team acts for the team, and ends with the login of the user."""
    key = plane.add_user("mate", team="duo")
    login, _ = token_of(plane, key)
    with plane.client() as client:
        client.headers["Authorization"] = f"Bearer {login}"
        team = client.get("/users/teams").json()[1]["user_id"]
        client.headers["X-Fal-User-Id"] = team
        token = client.post("/storage/auth/token", json={}).json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.post("/files/upload", content=b"a").status_code == 200
        plane.call("RevokeUserKey", RevokeUserKeyRequest(key_id=key.partition(":")[0]), key=key)
        assert client.post("/files/upload", content=b"a").status_code == 401


def test_token_without_a_key_is_refused(plane):
    """A token that names no key, or one that does not exist, is not valid."""
    tokens = plane.plane.identity.tokens
    listed = plane.call("ListUserKeys", ListUserKeysRequest()).user_keys
    assert listed
    with plane.client() as client:
        account = client.get("/users/current").json()["user_id"]
        token = tokens.make(LOGIN, account, key="nothing", seconds=60)
        client.headers["Authorization"] = f"Bearer {token}"
        answer = client.get("/users/current")
    assert (answer.status_code, "revoked" in answer.json()["detail"]) == (401, True)
