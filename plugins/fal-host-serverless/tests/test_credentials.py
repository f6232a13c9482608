"""
Credentials: where they are found, and where they never are.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import logging
import pickle
import time
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from fal_core import Options, function
from fal_core.errors import FalServerlessError, InternalFalServerlessError
from fal_host_serverless import (
    AsyncServerlessClient,
    FalServerlessHost,
    SyncServerlessClient,
    profiles,
    settings,
)
from fal_host_serverless.credentials import Credentials, KeyCredentials, find_credentials

SECRET = "do-not-tell"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A file of two profiles, and an environment that has no key.
    """
    path = tmp_path / "config.toml"
    path.write_text(
        '[__internal__]\nprofile = "work"\n[work]\nkey = "w:1"\nhost = "api.work.test"\n'
        '[home]\nkey = "h:2"\n'
    )
    monkeypatch.setenv("FAL_CONFIG_PATH", str(path))
    for name in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET", "FAL_PROFILE", "FAL_GRPC_HOST"):
        monkeypatch.delenv(name, raising=False)
    return path


def key_of(credentials: Credentials) -> str:
    """
    Return the key that is sent.
    """
    return credentials.headers()["Authorization"].removeprefix("Key ")


def test_argument_comes_before_environment_before_profile(
    config: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A key is taken of the argument, else of the environment, else of the profile.
    """
    assert key_of(find_credentials()) == "w:1"
    assert key_of(find_credentials(profile="home")) == "h:2"
    monkeypatch.setenv("FAL_PROFILE", "home")
    assert key_of(find_credentials()) == "h:2"
    monkeypatch.setenv("FAL_KEY_ID", "pair")
    monkeypatch.setenv("FAL_KEY_SECRET", "3")
    assert key_of(find_credentials()) == "pair:3"
    monkeypatch.setenv("FAL_KEY", "env:4")
    assert key_of(find_credentials()) == "env:4"
    assert key_of(find_credentials("arg:5")) == "arg:5"


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """
    A token of a user, where fal's own tools keep it.
    """
    return keep_login(tmp_path, monkeypatch, seconds=3600)


def keep_login(folder: Path, monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> str:
    """
    Keep a token that ends in so many seconds, and return it.
    """
    facts = json.dumps({"exp": time.time() + seconds}).encode()
    token = f"e30.{base64.urlsafe_b64encode(facts).decode().rstrip('=')}.signature"
    (folder / "auth0_token").write_text(f"refresh\n{token}")
    monkeypatch.setenv("FAL_HOME_DIR", str(folder))
    return token


def test_login_comes_after_keys(config: Path, login: str, monkeypatch: pytest.MonkeyPatch):
    """
    A login is used where there is no key, or where keys of the environment and the
    profile are not wanted.
    """
    assert key_of(find_credentials()) == "w:1"
    monkeypatch.setenv("FAL_KEY", "env:4")
    assert key_of(find_credentials()) == "env:4"
    monkeypatch.setenv("FAL_FORCE_AUTH_BY_USER", "1")
    assert find_credentials().metadata() == (("authorization", f"Bearer {login}"),)
    assert find_credentials().headers() == {"Authorization": f"Bearer {login}"}
    assert key_of(find_credentials("arg:5")) == "arg:5"
    monkeypatch.setenv("FAL_HOME_DIR", str(config.parent / "nobody"))
    with pytest.raises(FalServerlessError, match="no credentials"):
        find_credentials().headers()


def test_login_of_a_team(
    config: Path, login: str, recorder: Any, rest: Any, monkeypatch: pytest.MonkeyPatch
):
    """
    A user acts for a team by its name, or for the one that was chosen last.
    """
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
def test_login_that_is_over_is_told(
    written: str, config: Path, login: str, monkeypatch: pytest.MonkeyPatch
):
    """
    A token that ends within half an hour is none, as is what is no token.
    """
    monkeypatch.setenv("FAL_FORCE_AUTH_BY_USER", "1")
    keep_login(config.parent, monkeypatch, seconds=1700)
    with pytest.raises(FalServerlessError, match="is over"):
        find_credentials().metadata()
    (config.parent / "auth0_token").write_text(written)
    with pytest.raises(FalServerlessError, match="is over"):
        find_credentials().metadata()


def test_team_that_a_key_cannot_act_for_is_told(
    recorder: Any, rest: Any, capsys: pytest.CaptureFixture[str]
):
    """
    A key is of one account: another team is left aside, which is told once.
    """
    SyncServerlessClient(host=recorder.address, team="me").apps.list()
    assert "left aside" not in capsys.readouterr().err
    client = SyncServerlessClient(host=recorder.address, team="acme")
    client.apps.list()
    client.runners.list()
    told = capsys.readouterr().err
    assert told.count("Team 'acme' is left aside: a key belongs to one account") == 1
    assert "this one is me's" in told
    assert "fal-user-id" not in recorder.metadata[-1]
    rest.failing.add("/users/current")
    SyncServerlessClient(host=recorder.address, team="others").apps.list()
    assert "Team 'others' is left aside" in capsys.readouterr().err


def test_command_line_names_a_team(
    config: Path, login: str, recorder: Any, rest: Any, monkeypatch: pytest.MonkeyPatch
):
    """
    Every command of the service takes the team to act for.
    """
    from fal_core.cli.program import run

    monkeypatch.setenv("FAL_FORCE_AUTH_BY_USER", "1")
    assert run(["apps", "list", "--host", recorder.address, "--team", "ACME"]) == 0
    assert recorder.metadata[-1]["fal-user-id"] == "team|1"


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_copies_keep_the_key(make: Any, monkeypatch: pytest.MonkeyPatch):
    """
    A copy stays in the process, and asks as whom it was copied of asks.
    """
    client = SyncServerlessClient("h:1", api_key=f"id:{SECRET}", profile="p", team="t")
    other = make(client)
    assert (other.host, other.api_key, other.profile, other.team) == (
        *("h:1", f"id:{SECRET}"),
        *("p", "t"),
    )
    assert other.apps.client is other
    host = FalServerlessHost(
        "h:1", "file.py", KeyCredentials("id", SECRET), environment_name="staging"
    )
    same = make(host)
    assert key_of(same.credentials) == f"id:{SECRET}"
    assert (same.url, same.local_file_path, same.environment_name) == (
        *("h:1", "file.py"),
        "staging",
    )
    assert same.turns is not host.turns
    assert key_of(make([host])[0].credentials) == f"id:{SECRET}"


def test_missing_credentials_are_told_when_they_are_needed(
    config: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A host can be declared without a key; what is sent needs one.
    """
    config.unlink()
    host = FalServerlessHost()
    with pytest.raises(FalServerlessError, match="FAL_KEY"):
        host.credentials.metadata()
    monkeypatch.setenv("ISOLATE_AUTH_DISABLED", "1")
    assert find_credentials().metadata() == ()


@pytest.mark.parametrize("key", ["nothing", ":secret", "id:"])
def test_malformed_key_is_refused_without_being_told(key: str, config: Path):
    """
    The error of a key that is none does not show it.
    """
    with pytest.raises(FalServerlessError, match="ID:SECRET") as caught:
        find_credentials(key)
    assert "nothing" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_unknown_profile_is_an_error(config: Path):
    """
    A profile that is named and not there is told, with those that are.
    """
    with pytest.raises(FalServerlessError, match="work, home"):
        find_credentials(profile="nowhere")


def test_key_is_in_no_repr_and_no_pickle(monkeypatch: pytest.MonkeyPatch):
    """
    Neither credentials, nor a host, nor a client tell the secret, however they are
    written down; whoever opens a pickle has credentials of its own.
    """
    monkeypatch.setenv("FAL_KEY", f"id:{SECRET}")
    credentials = find_credentials()
    host = FalServerlessHost("127.0.0.1:1")
    client = SyncServerlessClient(api_key=f"id:{SECRET}")
    connections = (client, client.rest())
    for value in (credentials, host, *connections):
        assert SECRET not in repr(value)
        assert SECRET not in str(value)
    for value in (credentials, host, client):
        assert SECRET.encode() not in pickle.dumps(value)
        assert SECRET.encode() not in cloudpickle.dumps(value)
    monkeypatch.setenv("FAL_KEY", "other:key")
    opened = pickle.loads(pickle.dumps(host))
    assert key_of(opened.credentials) == "other:key"
    assert opened.url == host.url
    assert pickle.loads(pickle.dumps(client)).api_key is None


def test_key_travels_with_no_function(recorder: Any, monkeypatch: pytest.MonkeyPatch):
    """
    A function that is sent, and one that refers to its host, carries no key.
    """
    monkeypatch.setenv("FAL_KEY", f"id:{SECRET}")
    host = FalServerlessHost(recorder.address)

    @function(host=host)
    def tell() -> str:
        return repr(host.url)

    with pytest.raises(InternalFalServerlessError):
        tell()
    request = recorder.last("Run")
    assert SECRET.encode() not in request.SerializeToString()
    assert recorder.metadata[-1]["auth-key"] == SECRET


def test_key_is_in_no_log(
    recorder: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """
    Nothing that is logged while the service is asked has the key in it.
    """
    monkeypatch.setenv("FAL_KEY", f"id:{SECRET}")
    with caplog.at_level(logging.DEBUG):
        SyncServerlessClient().apps.list()
    assert recorder.metadata[-1]["auth-key"] == SECRET
    assert SECRET not in caplog.text


def test_variables_say_where_the_service_is(config: Path, monkeypatch: pytest.MonkeyPatch):
    """
    An address is taken of the argument, else of the variables, else of the profile.
    """
    monkeypatch.delenv("ISOLATE_TEST_MODE")
    assert settings.grpc_host() == "api.work.test"
    assert settings.rest_url("api.work.test") == "https://rest.work.test"
    assert settings.run_host("api.alpha.fal.ai") == "fal.run"
    assert settings.queue_run_host("api.alpha.fal.ai") == "queue.fal.run"
    monkeypatch.setenv("FAL_HOST", "api.other.test")
    assert settings.grpc_host() == "api.other.test"
    monkeypatch.setenv("FAL_HOST", "other.test")
    with pytest.raises(FalServerlessError, match="FAL_GRPC_HOST"):
        settings.grpc_host()
    monkeypatch.setenv("FAL_GRPC_HOST", "localhost:1")
    assert FalServerlessHost().address == "localhost:1"
    assert FalServerlessHost("localhost:2").address == "localhost:2"
    monkeypatch.setenv("FAL_RUN_HOST", "run:1")
    monkeypatch.setenv("FAL_QUEUE_RUN_HOST", "queue:1")
    monkeypatch.setenv("FAL_REST_HOST", "rest:1")
    monkeypatch.setenv("ISOLATE_TEST_MODE", "1")
    assert settings.run_host("x") == "run:1"
    assert settings.queue_run_host("x") == "queue:1"
    assert settings.rest_url("x") == "http://rest:1"


def test_written_profiles_are_read_again(config: Path):
    """
    A profile is kept with all its values, for nobody else to read.
    """
    known = profiles.read()
    known.tables['new "one"'] = {"key": "a:b\\c", "nested": {"deep": [1, 2.5, True]}}
    known.choose("home")
    known.write()
    again = profiles.read()
    assert again.tables == known.tables
    assert again.current == "home"
    assert config.stat().st_mode & 0o077 == 0


def test_addresses_of_hosts():
    """
    The name alone is the usual service; an address follows it as in a URL.
    """
    assert FalServerlessHost.from_url("serverless").url == settings.DEFAULT_URL
    assert FalServerlessHost.from_url("serverless://").url == settings.DEFAULT_URL
    assert FalServerlessHost.from_url("serverless://localhost:6001").url == "localhost:6001"
    with pytest.raises(ValueError, match="no address"):
        FalServerlessHost.from_url("serverless://a/b")
