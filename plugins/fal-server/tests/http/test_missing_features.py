"""Routes of fal's service that this server does not have."""

from __future__ import annotations

import logging
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("method", "path", "feature"),
    [
        ("POST", "/requests/billable-units/id", "bills"),
        ("GET", "/a-token", "this route"),
        ("OPTIONS", "*", "this route"),
    ],
)
def test_route_that_there_is_not(
    plane: Any, caplog: pytest.LogCaptureFixture, method: str, path: str, feature: str
):
    """
    A route that there is not is answered with 501 and a sentence that names the feature,
    with a key and without one. It is logged without its path.
    """
    caplog.set_level(logging.INFO, "fal_server.http.missing_features")
    with plane.client() as client:
        for headers in ({}, {"Authorization": ""}):
            refused = client.request(method, path, headers=headers)
            assert refused.status_code == 501
            told = refused.json()
            assert told["detail"] == told["error"]
            assert told["detail"].startswith(f"This server does not have {feature}")
    assert [feature in each for each in caplog.messages] == [True, True]
    assert "a-token" not in caplog.text


def test_missing_feature_is_warned_of_once(plane: Any, caplog: pytest.LogCaptureFixture):
    """
    The first request for a feature is a warning, and further ones are shown by ``--verbose``
    alone, so that nobody fills the log.
    """
    caplog.set_level(logging.INFO, "fal_server.http.missing_features")
    with plane.client() as client:
        for _ in range(3):
            client.get("/requests/billable-units/")
        assert client.get("/runners/nobody").status_code == 404
    assert [each.levelno for each in caplog.records][1:] == [logging.INFO] * 2
