"""How the gateway retries requests, as options and as fields of messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fal_core.errors import OptionError

if TYPE_CHECKING:
    from fal_host_serverless.wire.protocol import isolate_proto

_CONDITIONS = ("timeout", "server_error", "connection_error")


def retry_conditions(
    names: Iterable[str] | None,
) -> list[isolate_proto.RetryCondition.ValueType]:
    """
    Return the values of the option ``skip_retry_conditions``.

    Raises:
        OptionError: The service has no condition of that name.
    """
    from fal_host_serverless.wire.protocol import isolate_proto

    known = isolate_proto.RetryCondition.keys()
    numbers = []
    for name in names or ():
        if name.upper() not in known:
            listed = ", ".join(each.lower() for each in known)
            raise OptionError(
                f"Option 'skip_retry_conditions' names {name!r}. There are: {listed}."
            )
        numbers.append(isolate_proto.RetryCondition.Value(name.upper()))
    return numbers


def retry_config(config: Mapping[str, Any] | None) -> str | None:
    """
    Return the option ``retry_config`` as JSON, as in ``{"timeout": {"retries": 1}}``.

    Raises:
        OptionError: It has an unknown condition, or something else than a count.
    """
    if config is None:
        return None
    for condition, entry in config.items():
        retries = entry.get("retries") if isinstance(entry, Mapping) else None
        if condition not in _CONDITIONS or type(retries) is not int or len(entry) != 1:
            raise OptionError(
                "Option 'retry_config' is written as in {'timeout': {'retries': 1}}, with "
                f"{', '.join(_CONDITIONS)} for failures; not {condition!r}: {entry!r}."
            )
    counts = {name: {"retries": max(entry["retries"], 0)} for name, entry in config.items()}
    return json.dumps(counts, sort_keys=True)
