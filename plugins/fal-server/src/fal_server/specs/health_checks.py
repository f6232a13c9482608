"""Health checks: how an application is asked whether it still works."""

from __future__ import annotations

from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class HealthProbe:
    """
    A request that a healthy application answers with a status below 300.

    Attributes:
        path: What is asked for, with or without a slash in front.

        start_period: Seconds after the start in which failures do not count.

        timeout: Seconds that one answer may take.

        failure_threshold: How many failures in a row end a runner.

        call_regularly: Whether it is asked again once the runner is up.

        allow_on_busy: Whether it is asked while the runner has requests.
    """

    path: str
    method: str = "GET"
    start_period: float = 0.0
    timeout: float = 5.0
    failure_threshold: int = 3
    call_regularly: bool = True
    allow_on_busy: bool = False

    @classmethod
    def read(cls, message: Any) -> HealthProbe | None:
        """Return the health check of a run or a registration. None where there is none."""
        config = message.health_check_config
        if not message.HasField("health_check_config") or not config.path:
            return None
        given: dict[str, Any] = {
            name: getattr(config, name)
            for name in ("call_regularly", "allow_on_busy")
            if config.HasField(name)
        }
        # Zero means the default.
        if config.start_period_seconds:
            given["start_period"] = float(config.start_period_seconds)
        if config.timeout_seconds:
            given["timeout"] = float(config.timeout_seconds)
        if config.failure_threshold:
            given["failure_threshold"] = int(config.failure_threshold)
        if config.HasField("method"):
            given["method"] = type(config).Method.Name(config.method)
        return cls(path=config.path, **given)

    @property
    def header(self) -> dict[str, Any]:
        """The check as an agent takes it, which runs it once the application listens."""
        return {"path": self.path, "method": self.method, "timeout_seconds": self.timeout}
