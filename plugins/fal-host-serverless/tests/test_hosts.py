"""The host, as users make it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fal_core import function
from fal_core.hooks import hookimpl
from fal_core.machines import Machine
from fal_core.plugins import registered
from fal_host_serverless import FalServerlessHost
from fal_host_serverless.account import addresses
from fal_host_serverless.account.credentials import KeyCredentials


def test_addresses_of_hosts():
    """``serverless`` is the default service; an address follows it as in a URL."""
    assert FalServerlessHost.from_url("serverless://").url == addresses.DEFAULT_URL
    assert FalServerlessHost.from_url("serverless://localhost:6001").url == "localhost:6001"
    with pytest.raises(ValueError, match="not the address"):
        FalServerlessHost.from_url("serverless://a/b")


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_copies_of_a_host_keep_its_key(make: Any):
    """A copy stays in the process, and keeps the credentials; its turns are its own."""
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


def test_a_machine_type_that_nobody_knows_is_a_warning(caplog: pytest.LogCaptureFixture):
    """The service may have machine types that plugins here do not know, and is asked for them."""

    class Catalogue:
        fal_core_api = 1

        @hookimpl
        def fal_list_machines(self) -> list[Machine]:
            return [Machine(name="GPU-H100")]

    host = FalServerlessHost("h:1", credentials=KeyCredentials("id", "secret"))
    with registered(Catalogue()):
        declared = function("virtualenv", host=host, machine_type="GPU-H1005")(len)
        assert declared.on(keep_alive=3).options.host["machine_type"] == "GPU-H1005"
    [line] = caplog.messages
    assert line == (
        "Unknown machine type 'GPU-H1005'. Did you mean 'GPU-H100'? "
        "Host 'serverless' is asked for it, and may know it."
    )
