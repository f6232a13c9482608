"""Metrics and probes on a port of their own, whatever the service does."""

import os
import threading
import time
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.answering.metrics import UNMATCHED, ServiceMetrics
from fal_serve.servables import BaseServable
from fal_serve.serving.listeners import bind, url_of
from fal_serve.serving.probes import Phase, ProbeServer
from fal_testing.harness.processes import wait_until

PATIENCE = 60


class Probed(BaseServable):
    """A servable that can block its event loop, or its drain."""

    version = "4.5.6"

    def __init__(self, func: Any) -> None:
        pass

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {
            RouteSignature("/block"): self.block,
            RouteSignature("/items/{name}"): self.item,
            RouteSignature("/fail"): self.fail,
            RouteSignature("/count"): self.count,
        }

    async def block(self, until: str) -> None:
        print("blocks")
        # Until the test lets it go.
        while not os.path.exists(until):
            time.sleep(0.01)

    def item(self, name: str, until: str = "/") -> str:
        print("works")
        # Until the test lets it go.
        while not os.path.exists(until):
            time.sleep(0.01)
        return name

    def fail(self) -> None:
        raise LookupError("gone")

    def count(self) -> None:
        from prometheus_client import Counter

        Counter("my_own", "What the user counts.").inc(3)


def nothing() -> None: ...


def sample(url: str, name: str, **labels: str) -> float | None:
    """Return the value of a sample, or None if it does not exist."""
    for family in text_string_to_metric_families(httpx.get(url + "/metrics").text):
        for each in family.samples:
            if each.name == name and each.labels == labels:
                return each.value
    return None


def is_closed(url: str) -> bool:
    """Tell whether connections to the service at *url* are refused."""
    try:
        httpx.post(url + "/nowhere", timeout=PATIENCE)
    except httpx.TransportError as error:
        return isinstance(error, httpx.ConnectError)
    return False


def wait_for(tell: Any, value: Any) -> None:
    assert wait_until(lambda: tell() == value, PATIENCE), f"It is {tell()!r}, not {value!r}"


def test_requests_are_counted_by_route_and_status(serve_with):
    """Requests are labelled with their route, those of unknown paths with one label."""
    service = serve_with(nothing, Probed)
    for name in "abc":
        httpx.post(f"{service.url}/items/{name}")
        httpx.post(f"{service.url}/nowhere/{name}")
    httpx.post(service.url + "/fail")
    httpx.request("BREW", service.url + "/fail")
    metrics = service.urls["metrics"]
    fal = {"app_name": "fal", "method": "POST"}
    failed = {**fal, "path": "/fail", "status_code": "500"}
    wait_for(lambda: sample(metrics, "http_requests_total", **failed), 1)
    items = {**fal, "path": "/items/{name}", "status_code": "200"}
    assert sample(metrics, "http_requests_total", **items) == 3
    unmatched = {**fal, "path": UNMATCHED, "status_code": "404"}
    assert sample(metrics, "http_requests_total", **unmatched) == 3
    assert sample(metrics, "http_request_duration_seconds_bucket", **items, le="+Inf") == 3
    assert sample(metrics, "http_request_duration_seconds_count", **items) == 3
    taken = sample(metrics, "http_request_duration_seconds_sum", **items)
    assert taken is not None
    assert taken > 0
    assert sample(metrics, "fal_app_info", version="4.5.6") == 1
    # The answer may be there before that of the last request is counted down.
    wait_for(lambda: sample(metrics, "http_requests_in_progress"), 0)
    assert (sample(metrics, "process_open_fds") or 0) > 3
    assert "BREW" not in httpx.get(metrics + "/metrics").text


def test_metrics_of_the_user_are_told_too(serve_with):
    """Metrics that a handler defines with the client library are included."""
    service = serve_with(nothing, Probed)
    httpx.post(service.url + "/count")
    assert sample(service.urls["metrics"], "my_own_total") == 3


def test_probes_are_answered_while_a_handler_blocks(serve_with, tmp_path):
    """A service with a blocked event loop is alive until it has been blocked for long."""
    service = serve_with(nothing, Probed, blocked_after=0.1, dead_after=0.5)
    assert service.url
    metrics = service.urls["metrics"]
    for probe in ("live", "ready", "startup"):
        # The loop of a busy machine may stand still for so long, and goes on.
        wait_for(lambda url=f"{metrics}/{probe}": httpx.get(url).json(), {probe: True})
    end = tmp_path / "end"
    url = f"{service.url}/block?until={end}"
    caller = threading.Thread(target=lambda: httpx.post(url, timeout=PATIENCE))
    caller.start()
    while service.logs.get(timeout=PATIENCE).message != "blocks":
        pass
    assert sample(metrics, "http_requests_in_progress") == 1
    wait_for(lambda: httpx.get(metrics + "/live").status_code, 503)
    assert "blocked" in httpx.get(metrics + "/live").json()["reason"]
    end.touch()
    caller.join(PATIENCE)
    wait_for(lambda: httpx.get(metrics + "/live").json(), {"live": True})


def test_draining_service_is_not_ready(serve_with, tmp_path):
    """A draining service finishes its requests, and is alive but not ready."""
    service = serve_with(nothing, Probed)
    answers: list[Any] = []
    end = tmp_path / "end"
    url = f"{service.url}/items/last?until={end}"
    caller = threading.Thread(target=lambda: answers.append(httpx.post(url, timeout=PATIENCE)))
    caller.start()
    while service.logs.get(timeout=PATIENCE).message != "works":
        pass
    metrics = service.urls["metrics"]
    service.stream.drain()
    wait_for(lambda: httpx.get(metrics + "/ready").status_code, 503)
    assert "drain" in httpx.get(metrics + "/ready").json()["reason"]
    assert httpx.get(metrics + "/live").json() == {"live": True}
    assert httpx.get(metrics + "/startup").json() == {"startup": True}
    # It is said before the port is closed; who comes in between may be refused otherwise.
    assert wait_until(lambda: is_closed(service.url), PATIENCE)
    end.touch()
    caller.join(PATIENCE)
    assert [answer.json() for answer in answers] == ["last"]
    assert service.future.result(PATIENCE) is None
    with pytest.raises(httpx.ConnectError):
        httpx.get(metrics + "/ready")


def test_service_is_not_ready_before_its_setup_has_ended(serve_with):
    """During setup it is alive, but neither started nor ready, with a reason."""
    phase = Phase()
    listener = bind("127.0.0.1", 0)
    url = url_of(listener)
    with ProbeServer(listener, ServiceMetrics("1"), phase):
        assert httpx.get(url + "/live").json() == {"live": True}
        for probe in ("startup", "ready"):
            answer = httpx.get(f"{url}/{probe}")
            assert answer.status_code == 503
            assert answer.json() == {probe: False, "reason": "The setup has not ended."}
        phase.begin()
        assert httpx.get(url + "/startup").json() == {"startup": True}
        assert httpx.get(url + "/ready").json() == {"ready": True}
        assert httpx.head(url + "/ready").content == b""
        assert httpx.get(url + "/other").status_code == 404
        assert httpx.post(url + "/ready").status_code == 501


def test_two_services_can_follow_each_other_in_a_process():
    """The metrics of a service end with it."""
    for _ in range(2):
        metrics = ServiceMetrics("1")
        metrics.count("/", "POST", 200, 0.1)
        listener = bind("127.0.0.1", 0)
        url = url_of(listener)
        with ProbeServer(listener, metrics, Phase()):
            labels = {"method": "POST", "path": "/", "status_code": "200", "app_name": "fal"}
            assert sample(url, "http_requests_total", **labels) == 1
