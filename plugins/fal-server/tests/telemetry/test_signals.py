"""Which signals the variables of OpenTelemetry ask for."""

from __future__ import annotations

import pytest

from fal_server.telemetry.exports import find_signals

ALL = {"TRACES", "METRICS", "LOGS"}


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({}, set()),
        ({"ENDPOINT": "http://collector:4318"}, ALL),
        ({"LOGS_ENDPOINT": "http://collector:4318/v1/logs"}, {"LOGS"}),
        ({"ENDPOINT": "http://collector:4318", "TRACES": "none"}, {"METRICS", "LOGS"}),
        ({"TRACES": "otlp"}, {"TRACES"}),
        ({"METRICS": "prometheus,otlp"}, {"METRICS"}),
        ({"ENDPOINT": "http://collector:4318", "DISABLED": "True"}, set()),
    ],
)
def test_variables_choose_signals(variables: dict[str, str], sent: set[str]):
    """An endpoint is enough, and an exporter that is named decides."""
    names = {
        "DISABLED": "OTEL_SDK_DISABLED",
        **{name: f"OTEL_{name}_EXPORTER" for name in ALL},
        "ENDPOINT": "OTEL_EXPORTER_OTLP_ENDPOINT",
        "LOGS_ENDPOINT": "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    }
    found = find_signals({names[name]: value for name, value in variables.items()})
    assert set(found.protocols) == sent


def test_protocols_intervals_and_names():
    """Each signal may have a protocol of its own; what is no number is as if it were not there."""
    found = find_signals(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=mine",
        }
    )
    assert found.protocols == {"TRACES": "grpc", "METRICS": "grpc", "LOGS": "http/protobuf"}
    assert (found.interval, found.is_named) == (0.5, True)
    assert find_signals({"OTEL_METRIC_EXPORT_INTERVAL": "often"}).interval == 60
