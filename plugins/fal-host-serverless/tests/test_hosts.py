"""
The host, as users make it.
"""

from __future__ import annotations

import pytest

from fal_host_serverless import FalServerlessHost
from fal_host_serverless.account import addresses


def test_addresses_of_hosts():
    """
    ``serverless`` is the default service; an address follows it as in a URL.
    """
    assert FalServerlessHost.from_url("serverless").url == addresses.DEFAULT_URL
    assert FalServerlessHost.from_url("serverless://").url == addresses.DEFAULT_URL
    assert FalServerlessHost.from_url("serverless://localhost:6001").url == "localhost:6001"
    with pytest.raises(ValueError, match="not the address"):
        FalServerlessHost.from_url("serverless://a/b")
