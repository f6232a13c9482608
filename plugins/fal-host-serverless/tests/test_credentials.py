"""
Credentials: where they are found, and where they never are.
"""

from __future__ import annotations

import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from fal_core import function
from fal_core.errors import FalServerlessError, InternalFalServerlessError
from fal_host_serverless import FalServerlessHost, SyncServerlessClient, profiles, settings
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
    monkeypatch.setenv("FAL_FORCE_AUTH_BY_USER", "1")
    assert key_of(find_credentials()) == "h:2"


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
    assert isinstance(copy.copy(host).credentials, KeyCredentials)


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
