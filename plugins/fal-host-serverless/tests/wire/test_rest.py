"""The client of the REST service."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from fal_core.errors import FalServerlessError
from fal_host_serverless import SyncServerlessClient
from fal_host_serverless import deploy as deploying
from fal_host_serverless.wire.rest import RestClient


def test_errors_of_the_rest_service_are_raised(rest: Any, asking: SyncServerlessClient):
    """An error response is raised with its detail and path."""
    rest.failing.add("/users")
    with pytest.raises(FalServerlessError, match="answers 422 at /users/current: no"):
        deploying.get_user(asking)


def test_rest_client_has_no_key_in_its_repr(asking: SyncServerlessClient):
    """The *repr* of a client shows its address alone."""
    assert repr(RestClient("h", asking.credentials)) == "RestClient('h')"


def test_url_of_an_upload_is_not_logged(
    rest: Any, asking: SyncServerlessClient, caplog: pytest.LogCaptureFixture
):
    """
    The URL that a file is sent to, which has the credentials for that, is in no log; other
    requests are logged as ever.
    """
    caplog.set_level(logging.DEBUG)
    with RestClient(asking.host, asking.credentials) as client:
        url = f"http://{rest.address}/stored/SECRET"
        assert client.put(url, b"abc", content_type="text/plain").status_code == 200
        assert "SECRET" not in caplog.text
        client.send("GET", "/users/current")
    assert "/users/current" in caplog.text
