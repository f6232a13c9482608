"""
The host, as users make it.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fal_host_serverless import FalServerlessHost
from fal_host_serverless.account import addresses
from fal_host_serverless.account.credentials import KeyCredentials


def test_addresses_of_hosts():
    """
    ``serverless`` is the default service; an address follows it as in a URL.
    """
    assert FalServerlessHost.from_url("serverless://").url == addresses.DEFAULT_URL
    assert FalServerlessHost.from_url("serverless://localhost:6001").url == "localhost:6001"
    with pytest.raises(ValueError, match="not the address"):
        FalServerlessHost.from_url("serverless://a/b")


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_copies_of_a_host_keep_its_key(make: Any):
    """
    A copy stays in the process, and keeps the credentials; its turns are its own.
    """
    host = FalServerlessHost(
        "h:1", "file.py", KeyCredentials("id", "secret"), environment_name="staging"
    )
    same = make(host)
    key = {"Authorization": "Key id:secret"}
    assert same.credentials.headers() == key
    assert (same.url, same.local_file_path, same.environment_name) == (
        *("h:1", "file.py"),
        "staging",
    )
    assert same.turns is not host.turns
    assert make([host])[0].credentials.headers() == key
