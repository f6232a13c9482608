"""Logins of users, and the teams that they act for."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fal_core import Options
from fal_core.errors import FalServerlessError
from fal_host_serverless import AsyncServerlessClient, FalServerlessHost, SyncServerlessClient
from fal_host_serverless.account.credentials import find_credentials


def test_login_of_a_team(
    config: Path, login: str, recorder: Any, rest: Any, monkeypatch: pytest.MonkeyPatch
):
    """A user acts for the team that the client names, or for the one that was chosen last."""
    monkeypatch.delenv("FAL_KEY", raising=False)
    config.write_text('[__internal__]\nteam = "Acme"\n')
    client = SyncServerlessClient(host=recorder.address, team="other")
    client.apps.list()
    assert recorder.metadata[-1]["authorization"] == f"Bearer {login}"
    assert recorder.metadata[-1]["fal-user-id"] == "team|2"
    with client.rest() as asking:
        asking.send("GET", "/users/current")
    assert rest.headers[-1]["X-Fal-User-Id"] == "team|2"
    FalServerlessHost(recorder.address).register(
        len, Options(), deployment_strategy="rolling", log=lambda _: None
    )
    assert recorder.metadata[-1]["fal-user-id"] == "team|1"
    assert rest.asked.count(("GET", "/users/teams")) == 2

    async def ask() -> None:
        async with AsyncServerlessClient(host=recorder.address) as other:
            await other.apps.list()

    asyncio.run(ask())
    assert recorder.metadata[-1]["fal-user-id"] == "team|1"
    with pytest.raises(FalServerlessError, match=r"no team 'nosuch'.*Acme, me, other"):
        SyncServerlessClient(host=recorder.address, team="nosuch").apps.list()
    for value in (client, client.credentials, client.make_host()):
        assert login not in repr(value)
        assert login.encode() not in pickle.dumps(value)


@pytest.mark.parametrize("written", ["refresh", "refresh\nno-token", "refresh\na.b.c", ""])
def test_expired_login_is_refused(
    written: str,
    config: Path,
    login: str,
    keep_login: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
):
    """A token that expires within half an hour, or is malformed, is refused."""
    monkeypatch.setenv("FAL_FORCE_AUTH_BY_USER", "1")
    keep_login(config.parent, seconds=1700)
    with pytest.raises(FalServerlessError, match="has expired"):
        find_credentials().metadata()
    (config.parent / "auth0_token").write_text(written)
    with pytest.raises(FalServerlessError, match="has expired"):
        find_credentials().metadata()


def test_team_is_ignored_with_a_key(
    recorder: Any, rest: Any, capsys: pytest.CaptureFixture[str]
):
    """A key belongs to one account: another team is ignored, with one warning."""
    SyncServerlessClient(host=recorder.address, team="me").apps.list()
    assert "is ignored" not in capsys.readouterr().err
    client = SyncServerlessClient(host=recorder.address, team="acme")
    client.apps.list()
    client.runners.list()
    told = capsys.readouterr().err
    assert told.count("Team 'acme' is ignored: a key belongs to one account") == 1
    assert "and this one to 'me'" in told
    assert "fal-user-id" not in recorder.metadata[-1]
    rest.failing.add("/users/current")
    SyncServerlessClient(host=recorder.address, team="others").apps.list()
    assert "Team 'others' is ignored" in capsys.readouterr().err


def test_command_line_names_a_team(
    config: Path, login: str, recorder: Any, rest: Any, monkeypatch: pytest.MonkeyPatch
):
    """Commands take the team to act for."""
    from fal_core.cli.program import run

    monkeypatch.setenv("FAL_FORCE_AUTH_BY_USER", "1")
    assert run(["apps", "list", "--host", recorder.address, "--team", "ACME"]) == 0
    assert recorder.metadata[-1]["fal-user-id"] == "team|1"
