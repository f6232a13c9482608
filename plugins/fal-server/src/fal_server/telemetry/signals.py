"""
Signals: which of them the variables of OpenTelemetry ask to send, and how.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

#: The signals, by the names that variables have for them.
TRACES, METRICS, LOGS = "TRACES", "METRICS", "LOGS"

_ENDPOINT, _PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"


@attrs.frozen(kw_only=True)
class Signals:
    """
    What is sent by OTLP.

    Attributes:
        protocols: The protocol of each signal that is sent: ``grpc`` or ``http/protobuf``.

        interval: Seconds between two exports of metrics.

        is_named: Whether the variables name the service.
    """

    protocols: Mapping[str, str]
    interval: float = 60.0
    is_named: bool = False


def find_signals(variables: Mapping[str, str]) -> Signals:
    """
    Return what *variables* ask to send: the signals whose exporter is ``otlp``, or, where
    that is not said, all that have an endpoint.
    """
    protocols = {}
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() != "true":
        for signal in (TRACES, METRICS, LOGS):
            if _is_sent(variables, signal):
                own = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
                written = variables.get(own) or variables.get(_PROTOCOL) or "http/protobuf"
                protocols[signal] = written.strip().lower()
    resource = variables.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Signals(
        protocols=protocols,
        interval=_seconds(variables.get("OTEL_METRIC_EXPORT_INTERVAL", "")),
        is_named=bool(variables.get("OTEL_SERVICE_NAME")) or "service.name=" in resource,
    )


def _is_sent(variables: Mapping[str, str], signal: str) -> bool:
    chosen = variables.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    if chosen:
        return "otlp" in chosen.split(",")
    return bool(
        variables.get(_ENDPOINT) or variables.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    )


def _seconds(milliseconds: str) -> float:
    try:
        found = float(milliseconds) / 1000
    except ValueError:
        return Signals(protocols={}).interval
    return max(found, 0.1)
