"""
Environment variables that say how the service is reached.

They are read on each use, so a process may change its environment.
"""

from __future__ import annotations

import os


def is_set(name: str) -> bool:
    """Return whether the variable *name* is set to anything but ``0`` or ``false``."""
    return os.environ.get(name, "").strip().lower() not in ("", "0", "false")


def test_mode() -> bool:
    """Return whether the service runs on this machine and is reached without TLS."""
    return is_set("ISOLATE_TEST_MODE")


def auth_disabled() -> bool:
    """Return whether requests carry no credentials."""
    return is_set("ISOLATE_AUTH_DISABLED")


def rest_host(address: str) -> str:
    """Return the address of the REST service that belongs to the gRPC service at *address*."""
    named = os.environ.get("FAL_REST_HOST")
    if named:
        return named
    return address.replace("api", "rest", 1) if address.startswith("api") else address


def rest_url(address: str) -> str:
    """Return the base URL of the REST service that belongs to the gRPC service at *address*."""
    return _url_of(rest_host(address))


def run_host(address: str) -> str:
    """Return the host name at which applications of the service at *address* answer."""
    named = os.environ.get("FAL_RUN_HOST")
    if named:
        return named
    return address.replace("api.", "", 1).replace("alpha.", "", 1).replace(".ai", ".run", 1)


def run_url(address: str) -> str:
    """Return the base URL of the applications of the service at *address*."""
    return _url_of(run_host(address))


def queue_url(address: str) -> str:
    """Return the base URL of the queue of applications of the service at *address*."""
    return _url_of(queue_run_host(address))


def queue_run_host(address: str) -> str:
    """Return the host name of the queue of applications of the service at *address*."""
    return os.environ.get("FAL_QUEUE_RUN_HOST") or f"queue.{run_host(address)}"


def websocket_url(address: str) -> str:
    """Return the base URL of websockets to applications of the service at *address*."""
    host = os.environ.get("FAL_WS_RUN_HOST") or f"ws.{run_host(address)}"
    return _url_of(host).replace("http", "ws", 1)


def _url_of(host: str) -> str:
    scheme = "http" if test_mode() or auth_disabled() else "https"
    return f"{scheme}://{host}"
