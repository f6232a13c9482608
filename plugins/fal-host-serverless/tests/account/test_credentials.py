"""Credentials: where they are found, and where they never appear."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from fal_core import function
from fal_core.errors import FalServerlessError, InternalFalServerlessError
from fal_host_serverless import FalServerlessHost, SyncServerlessClient
from fal_host_serverless.account.credentials import Credentials, find_credentials

SECRET = "do-not-tell"


def key_of(credentials: Credentials) -> str:
    """Return the key that is sent."""
    return credentials.headers()["Authorization"].removeprefix("Key ")


def test_argument_comes_before_environment_before_profile(
    config: Path, monkeypatch: pytest.MonkeyPatch
):
    """A key is looked up in this order: argument, variables, profile."""
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


def test_login_comes_after_keys(config: Path, login: str, monkeypatch: pytest.MonkeyPatch):
    """A login is used if there is no key, or if FAL_FORCE_AUTH_BY_USER rules keys out."""
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


def test_missing_credentials_raise_when_they_are_needed(
    config: Path, monkeypatch: pytest.MonkeyPatch
):
    """A host can be declared without credentials; a request raises without them."""
    config.unlink()
    host = FalServerlessHost()
    with pytest.raises(FalServerlessError, match="FAL_KEY"):
        host.credentials.metadata()
    monkeypatch.setenv("ISOLATE_AUTH_DISABLED", "1")
    assert find_credentials().metadata() == ()


@pytest.mark.parametrize("key", ["nothing", ":secret", "id:"])
def test_malformed_key_is_not_in_its_error(key: str, config: Path):
    """The error for a malformed key does not show the key."""
    with pytest.raises(FalServerlessError, match="ID:SECRET") as caught:
        find_credentials(key)
    assert "nothing" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_unknown_profile_is_an_error(config: Path):
    """The error for an unknown profile lists the profiles."""
    with pytest.raises(FalServerlessError, match="work, home"):
        find_credentials(profile="nowhere")


def test_key_is_in_no_repr_and_no_pickle(monkeypatch: pytest.MonkeyPatch):
    """
    No *repr* and no pickle of credentials, hosts and clients has the secret; the process that
    opens a pickle looks up its own credentials.
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
    """A function that refers to its host carries no key."""
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
    """No log record of a request contains the key."""
    monkeypatch.setenv("FAL_KEY", f"id:{SECRET}")
    with caplog.at_level(logging.DEBUG):
        SyncServerlessClient().apps.list()
    assert recorder.metadata[-1]["auth-key"] == SECRET
    assert SECRET not in caplog.text
