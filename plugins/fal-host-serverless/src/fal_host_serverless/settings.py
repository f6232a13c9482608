"""
Settings: where the service is, as the environment and the profile say.

They are read when they are used, so that a process may change its environment.
"""

from __future__ import annotations

import os

from fal_core.errors import FalServerlessError

#: Where fal.ai takes calls.
DEFAULT_URL = "api.alpha.fal.ai"


def is_set(name: str) -> bool:
    """
    Tell whether the variable *name* says yes.
    """
    return os.environ.get(name, "").strip().lower() not in ("", "0", "false")


def test_mode() -> bool:
    """
    Tell whether the service is one on this machine, reached without TLS.
    """
    return is_set("ISOLATE_TEST_MODE")


def auth_disabled() -> bool:
    """
    Tell whether no credentials are sent.
    """
    return is_set("ISOLATE_AUTH_DISABLED")


def grpc_host(written: str | None = None, *, profile: str | None = None) -> str:
    """
    Return the address of the service; *written* is one that a program gave.

    Raises:
        FalServerlessError: An address is not one of the service.
    """
    if written and written != DEFAULT_URL:
        return written
    named = os.environ.get("FAL_GRPC_HOST")
    if named:
        return named
    # Most programs ask for nothing but the constant above.
    from fal_host_serverless import profiles

    host = os.environ.get("FAL_HOST") or profiles.read().value("host", profile) or DEFAULT_URL
    if not host.startswith("api") and not test_mode():
        raise FalServerlessError(
            f"The address {host!r} does not begin with 'api'. Name it in FAL_GRPC_HOST if it "
            "is right."
        )
    return host


def rest_host(grpc: str) -> str:
    """
    Return the address of the REST service beside *grpc*.
    """
    named = os.environ.get("FAL_REST_HOST")
    if named:
        return named
    return grpc.replace("api", "rest", 1) if grpc.startswith("api") else grpc


def rest_url(grpc: str) -> str:
    """
    Return the base URL of the REST service beside *grpc*.
    """
    scheme = "http" if test_mode() or auth_disabled() else "https"
    return f"{scheme}://{rest_host(grpc)}"


def run_host(grpc: str) -> str:
    """
    Return the address at which applications answer.
    """
    named = os.environ.get("FAL_RUN_HOST")
    if named:
        return named
    return grpc.replace("api.", "", 1).replace("alpha.", "", 1).replace(".ai", ".run", 1)


def queue_run_host(grpc: str) -> str:
    """
    Return the address of the queue of applications.
    """
    return os.environ.get("FAL_QUEUE_RUN_HOST") or f"queue.{run_host(grpc)}"


def environment_name(written: str | None) -> str | None:
    """
    Return the environment to work in; None for the main one.
    """
    return written or os.environ.get("FAL_ENV") or None
