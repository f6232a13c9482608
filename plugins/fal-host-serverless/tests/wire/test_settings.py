"""Environment variables that say how the service is reached."""

from __future__ import annotations

import pytest

from fal_host_serverless.wire import settings


def test_hosts_follow_from_the_address(monkeypatch: pytest.MonkeyPatch):
    """
    The hosts of REST, applications and queue are derived from the address, unless
    variables name them.
    """
    monkeypatch.delenv("ISOLATE_TEST_MODE")
    assert settings.rest_url("api.work.test") == "https://rest.work.test"
    assert settings.run_host("api.alpha.fal.ai") == "fal.run"
    assert settings.queue_run_host("api.alpha.fal.ai") == "queue.fal.run"
    assert settings.queue_url("api.alpha.fal.ai") == "https://queue.fal.run"
    monkeypatch.setenv("FAL_RUN_HOST", "run:1")
    monkeypatch.setenv("FAL_QUEUE_RUN_HOST", "queue:1")
    monkeypatch.setenv("FAL_REST_HOST", "rest:1")
    monkeypatch.setenv("ISOLATE_TEST_MODE", "1")
    assert settings.run_host("x") == "run:1"
    assert settings.queue_run_host("x") == "queue:1"
    assert settings.rest_url("x") == "http://rest:1"
    assert settings.queue_url("x") == "http://queue:1"
