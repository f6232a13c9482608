"""Commands for users, teams, keys and logins."""

from __future__ import annotations

import json
import os

import httpx


def test_users_teams_and_keys_by_command(start_program, server, current):
    """Users, teams and keys are made beside a server that runs, and are good at once."""
    variables = start_program().wait_until_ready()
    key, _ = server("users", "create", "bob", "--name", "Bob B.")
    assert current(variables, key)["full_name"] == "Bob B."
    assert "already" in server("users", "create", "bob", code=1)[1]
    assert "not a valid nickname" in server("users", "create", "Bob/..", code=2)[1]

    team, _ = server("teams", "create", "crew", "--member", "bob")
    assert [each["nickname"] for each in current(variables, team)["members"]] == ["bob"]
    server("teams", "join", "crew", "owner")
    assert len(current(variables, team)["members"]) == 2
    assert "no user" in server("teams", "join", "crew", "crew", code=1)[1]
    listed = json.loads(server("users", "list", "--json")[0])
    assert [each["nickname"] for each in listed] == ["owner", "bob", "crew"]

    made, _ = server("keys", "create", "bob", "--preset", "api", "--alias", "robot")
    assert current(variables, made)["nickname"] == "bob"
    assert "Unknown preset" in server("keys", "create", "bob", "--preset", "x", code=2)[1]
    keys = json.loads(server("keys", "list", "bob", "--json")[0])
    assert [each["alias"] for each in keys] == ["", "robot"]
    assert made.partition(":")[2] not in json.dumps(keys)
    server("keys", "revoke", "bob", made.partition(":")[0])
    assert "no account" in server("keys", "list", "nobody", code=1)[1]


def test_login_makes_a_token(start_program, server, tmp_path):
    """
    A token stands for its user; it is printed, or written where the command line looks for
    it.
    """
    variables = start_program().wait_until_ready()
    token, _ = server("login", "owner")
    url = f"http://{variables['FAL_REST_HOST']}/users/current"
    answer = httpx.get(
        url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60
    )
    assert answer.json()["nickname"] == "owner"
    server("login", "owner", "--home", str(tmp_path / "home"))
    path = tmp_path / "home" / "auth0_token"
    assert path.read_text().splitlines()[1].count(".") == 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert "no user" in server("login", "nobody", code=1)[1]
    if os.geteuid() == 0:
        (tmp_path / "foreign").mkdir()
        os.chown(tmp_path / "foreign", 54321, 54321)
        told = server("login", "owner", "--home", str(tmp_path / "foreign"), code=1)[1]
        assert "belongs to another user" in told


def test_login_is_revoked_like_a_key(start_program, server):
    """A login is listed among the keys of its user, and ends when it is revoked there."""
    variables = start_program().wait_until_ready()
    token, _ = server("login", "owner", "--days", "2")
    url = f"http://{variables['FAL_REST_HOST']}/users/current"
    listed = json.loads(server("keys", "list", "owner", "--json")[0])
    assert listed[-1]["alias"].startswith("login until 2")
    server("keys", "revoke", "owner", listed[-1]["id"])
    answer = httpx.get(
        url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60
    )
    assert answer.status_code == 401
