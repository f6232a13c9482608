"""Health checks of services."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fal_core_worker.serving.routes import RouteSignature


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """
    How a host checks the health of a service at an endpoint. None is the host's default.

    Attributes:
        start_period_seconds: How long failures are ignored after the start.

        timeout_seconds: How long the response may take.

        failure_threshold: How many checks in a row must fail.

        call_regularly: Whether to check at intervals; otherwise only on request.

        method: The HTTP method; POST by default.
    """

    start_period_seconds: int | None = None
    timeout_seconds: int | None = None
    failure_threshold: int | None = None
    call_regularly: bool | None = None
    method: str | None = None


def find_config(signatures: Iterable[RouteSignature]) -> dict[str, Any] | None:
    """Return the option ``health_check_config`` for a service with these routes."""
    for signature in signatures:
        if signature.health_check is not None:
            config = asdict(signature.health_check)
            method = (config["method"] or "POST").upper()
            return {**config, "path": signature.path, "method": method}
    return None
