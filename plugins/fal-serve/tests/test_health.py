"""Health checks that endpoints declare."""

from __future__ import annotations

from fal_serve import App, HealthCheck, endpoint


def test_health_check_becomes_an_option():
    """The endpoint with a health check becomes the option for the host."""

    class Checked(App):
        @endpoint("/well", health_check=HealthCheck(timeout_seconds=3, method="get"))
        def well(self) -> str:
            return "yes"

    assert Checked.host_kwargs["health_check_config"] == {
        "path": "/well",
        "method": "GET",
        "timeout_seconds": 3,
        "start_period_seconds": None,
        "failure_threshold": None,
        "call_regularly": None,
    }
