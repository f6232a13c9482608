"""The health check of an application, as an option and as a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import attrs

from fal_core.declaring import HealthCheckConfig
from fal_core.errors import OptionError

if TYPE_CHECKING:
    from fal_host_serverless.wire.protocol import isolate_proto

#: The fields of a health check, and the types that the service takes.
FIELDS: Mapping[str, Any] = {
    "path": str,
    "start_period_seconds": int,
    "timeout_seconds": int,
    "failure_threshold": int,
    "call_regularly": bool,
    "method": Literal["GET", "POST"],
}


def health_check(config: Any) -> isolate_proto.ApplicationHealthCheckConfig | None:
    """
    Return the message of the option ``health_check_config``.

    Arguments:
        config: A mapping of :data:`FIELDS`, or an object with such attributes.

    Raises:
        OptionError: It has no path, an unknown entry, or a method that the service does
            not know.
    """
    check = HealthCheckConfig.read(config)
    if check is None:
        return None
    from fal_host_serverless.wire.protocol import isolate_proto

    values = attrs.asdict(check)
    method = values.pop("method")
    if method is not None:
        kind = isolate_proto.ApplicationHealthCheckConfig
        if str(method).upper() not in kind.Method.keys():  # noqa: SIM118  # no mapping
            listed = ", ".join(kind.Method.keys())
            raise OptionError(
                f"Option 'health_check_config' has the method {method!r}. There are: {listed}."
            )
        values["method"] = kind.Method.Value(str(method).upper())
    return isolate_proto.ApplicationHealthCheckConfig(
        **{name: value for name, value in values.items() if value is not None}
    )
