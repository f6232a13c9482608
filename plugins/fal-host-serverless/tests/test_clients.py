"""What the synchronous and the asynchronous client share."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from fal_core.errors import FalServerlessError
from fal_host_serverless import AsyncServerlessClient, SyncServerlessClient
from fal_host_serverless.account import addresses

SECRET = "do-not-tell"


@pytest.mark.parametrize("kind", [SyncServerlessClient, AsyncServerlessClient])
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_copies_of_a_client_keep_its_key(make: Any, kind: Any):
    """A copy stays in the process, and keeps the credentials; its namespaces are its own."""
    client = kind("h:1", api_key=f"id:{SECRET}", profile="p", team="t")
    other = make(client)
    assert (other.host, other.api_key, other.profile, other.team) == (
        *("h:1", f"id:{SECRET}"),
        *("p", "t"),
    )
    assert other.apps.client is other


def test_profile_of_a_client_names_its_service(config: Path):
    """The address and the key are those of the profile, unless the client has its own."""
    service = SyncServerlessClient(profile="work").find_service()
    assert service.address == "api.work.test"
    assert service.credentials.headers() == {"Authorization": "Key w:1"}
    service = SyncServerlessClient(profile="home").find_service()
    assert service.address == addresses.DEFAULT_URL
    assert service.credentials.headers() == {"Authorization": "Key h:2"}
    service = SyncServerlessClient("h:1", "a:2", profile="work").find_service()
    assert service.address == "h:1"
    assert service.credentials.headers() == {"Authorization": "Key a:2"}
    with pytest.raises(FalServerlessError, match="work, home"):
        SyncServerlessClient(profile="nowhere").find_service()


def test_host_of_a_client_is_at_its_service(config: Path):
    """The host has the client's address and credentials, and the stage and file that it is given."""
    client = SyncServerlessClient(profile="work", api_key="a:2")
    host = client.make_host(local_file_path="app.py", environment_name="staging")
    assert (host.url, host.local_file_path, host.environment_name) == (
        *("api.work.test", "app.py"),
        "staging",
    )
    assert host.credentials.headers() == {"Authorization": "Key a:2"}
