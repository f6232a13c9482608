"""
Tokens: temporary credentials of an account.
"""

from __future__ import annotations

import pytest

from fal_server.access.identities import LOGIN


def token_of(plane, key, *, purpose=LOGIN, seconds=3600.0) -> tuple[str, str]:
    with plane.client(key) as client:
        user_id = client.get("/users/current").json()["user_id"]
    return plane.plane.identity.tokens.make(purpose, user_id, seconds=seconds), user_id


def test_user_with_a_token_acts_for_their_teams(plane):
    """
    A token acts for its user, or for one of their teams if the request names it.
    """
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
    """
    A token that has expired, is for something else, or is forged, is refused.
    """
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
