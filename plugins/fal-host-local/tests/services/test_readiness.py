"""When a service is ready, and when it no longer is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fal_core import OptionError, WorkerLost
from fal_host_local import LocalHost

PATIENCE = 60.0


def test_a_server_is_ready_when_its_port_answers(
    host: LocalHost, port: int, make_server: Callable[..., Any], ask: Callable[[str], list[str]]
):
    """
    The URL is reported once the port accepts connections, and leads to the function's own
    server.
    """
    info = make_server(host, port).spawn("one")

    assert info.url == f"http://127.0.0.1:{port}"
    assert ask(info.url)[0] == "one"


def test_a_server_is_ready_when_its_health_check_passes(
    host: LocalHost, port: int, make_server: Callable[..., Any]
):
    """With ``health_check_config`` the URL is reported after the first 2xx response."""
    check = {"path": "/health", "timeout_seconds": 5}
    info = make_server(host, port, health_check_config=check).spawn("one", [503, 404, 204])

    assert info.url == f"http://127.0.0.1:{port}"
    lines = [info.logs.get(timeout=PATIENCE).message for _ in range(3)]
    assert lines == ["GET /health 503", "GET /health 404", "GET /health 204"]


def test_a_check_that_is_written_wrongly_is_refused(
    host: LocalHost, port: int, make_server: Callable[..., Any]
):
    """A health check has a path, and no entry that means nothing."""
    for check in ({"path": "/health", "pth": 1}, {"method": "GET"}):
        with pytest.raises(OptionError, match="health_check_config"):
            make_server(host, port, health_check_config=check).spawn("one")
    assert not host.worker_count


def test_a_server_that_fails_its_regular_check_is_ended(
    host: LocalHost, port: int, monkeypatch: pytest.MonkeyPatch, make_server: Callable[..., Any]
):
    """With ``call_regularly`` a service that answers wrongly too often in a row is lost."""
    monkeypatch.setattr("fal_core.pools.readiness._REGULARLY", 0.05)
    # A busy machine may not come as far as its last lines in the time there is for them.
    monkeypatch.setattr("fal_core.pools.services._LAST_WORDS", PATIENCE)
    check = {"path": "/health", "call_regularly": True, "failure_threshold": 2}
    serve = make_server(host, port, health_check_config=check)
    info = serve.spawn("one", [200, 500, 200, 500, 500])

    assert info.url is not None
    with pytest.raises(WorkerLost, match="no longer answered its health check"):
        info.future.result(PATIENCE)
    lines = [line.message.split()[2] for line in list(info.logs.queue)]
    assert lines == ["200", "500", "200", "500", "500"]
