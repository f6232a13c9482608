"""
Health checks: how a host asks a service whether it is well.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fal_core_worker.serving.routes import RouteSignature


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """
    How one endpoint is asked for the health of its service. None is the host's default.

    Attributes:
        start_period_seconds: How long a failing check is forgiven after the start.

        timeout_seconds: How long the answer may take.

        failure_threshold: How many checks in a row must fail.

        call_regularly: Whether it is asked at intervals; otherwise only on request.

        method: Of HTTP; POST where it is not said.
    """

    start_period_seconds: int | None = None
    timeout_seconds: int | None = None
    failure_threshold: int | None = None
    call_regularly: bool | None = None
    method: str | None = None


def find_config(signatures: Iterable[RouteSignature]) -> dict[str, Any] | None:
    """
    Return the option ``health_check_config`` of a service with these routes.
    """
    for signature in signatures:
        if signature.health_check is not None:
            config = asdict(signature.health_check)
            method = (config["method"] or "POST").upper()
            return {**config, "path": signature.path, "method": method}
    return None
