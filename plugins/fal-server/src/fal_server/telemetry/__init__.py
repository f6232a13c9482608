"""Telemetry: logs, metrics and traces, sent by OTLP where the variables of OpenTelemetry say so."""
