"""Values with which applications declare how they are checked and retried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ApplicationHealthCheckConfig:
    """How the health of an application is checked, and at which path."""

    path: str
    start_period_seconds: int | None
    timeout_seconds: int | None
    failure_threshold: int | None
    call_regularly: bool | None
    method: str | None = None


class RetryConfig(dict[str, dict[str, int]]):
    """
    How many times a request is sent again, by what has failed: ``retry_config`` itself.

    Raises:
        ValueError: Nothing is given.
    """

    timeout: int | None
    server_error: int | None
    connection_error: int | None

    def __init__(
        self,
        timeout: int | None = None,
        server_error: int | None = None,
        connection_error: int | None = None,
    ) -> None:
        self.timeout = timeout
        self.server_error = server_error
        self.connection_error = connection_error
        super().__init__(self.to_dict())

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Return it as a plain dictionary."""
        given = {
            name: {"retries": max(int(count), 0)}
            for name, count in vars(self).items()
            if count is not None
        }
        if not given:
            raise ValueError("Say what is retried: timeout, server_error or connection_error.")
        return given
