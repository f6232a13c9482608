"""The health check of a service, as the option ``health_check_config`` declares it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from fal_core.errors import OptionError


@attrs.frozen(kw_only=True)
class HealthCheckConfig:
    """
    How a host asks a service whether it works. None stands for the host's default.

    Attributes:
        path: The path that is requested. A healthy service responds with 2xx.

        method: The HTTP method.

        timeout_seconds: Seconds that a response may take.

        start_period_seconds: Seconds after the start in which failures do not count.

        failure_threshold: The number of failures in a row after which the service is
            ended.

        call_regularly: Whether the check goes on once the service is ready.
    """

    path: str
    method: str | None = None
    timeout_seconds: float | None = None
    start_period_seconds: float | None = None
    failure_threshold: int | None = None
    call_regularly: bool | None = None

    @classmethod
    def read(cls, config: Any) -> HealthCheckConfig | None:
        """
        Return the check that *config* declares: a mapping, or an object with attributes.

        Raises:
            OptionError: It has no path, or an unknown entry.
        """
        if config is None:
            return None
        names = [field.name for field in attrs.fields(cls)]
        if isinstance(config, Mapping):
            unknown = [name for name in config if name not in names]
            if unknown:
                raise OptionError(
                    f"Option 'health_check_config' has no {unknown[0]!r}. "
                    f"It may have {', '.join(names)}."
                )
            values = dict(config)
        else:
            values = {name: getattr(config, name, None) for name in names}
        if not values.get("path") or not isinstance(values["path"], str):
            raise OptionError(
                "Option 'health_check_config' has no path. Write as in {'path': '/health'}."
            )
        return cls(**values)
