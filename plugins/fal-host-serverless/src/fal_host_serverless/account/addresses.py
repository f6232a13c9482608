"""
The address of the service and the stage to work in, by argument, variable or profile.

They are read on each use, so a process may change its environment.
"""

from __future__ import annotations

import os

from fal_core.errors import FalServerlessError

#: The gRPC address of fal.ai.
DEFAULT_URL = "api.alpha.fal.ai"


def find_address(written: str | None = None, *, profile: str | None = None) -> str:
    """
    Return the gRPC address of the service.

    Arguments:
        written: An address that the program gave. :data:`DEFAULT_URL` counts as none.

        profile: The profile to read, in place of the one in use.

    Raises:
        FalServerlessError: The address found in ``FAL_HOST`` or the profile does not
            begin with ``api``.
    """
    if written and written != DEFAULT_URL:
        return written
    named = os.environ.get("FAL_GRPC_HOST")
    if named:
        return named
    # Most programs need nothing but the constant above.
    from fal_host_serverless.account import profiles
    from fal_host_serverless.wire import settings

    host = os.environ.get("FAL_HOST") or profiles.read().value("host", profile) or DEFAULT_URL
    if not host.startswith("api") and not settings.test_mode():
        raise FalServerlessError(
            f"The address {host!r} does not begin with 'api'. Name it in FAL_GRPC_HOST if it "
            "is right."
        )
    return host


def find_stage(written: str | None) -> str | None:
    """Return the stage to work in: *written*, else that of ``FAL_ENV``. None is the main one."""
    return written or os.environ.get("FAL_ENV") or None
