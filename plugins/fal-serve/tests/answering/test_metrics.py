"""Metrics: the labels and buckets of requests."""

import pytest

from fal_serve.answering.metrics import BOUNDS, UNMATCHED, RouteLabels, ServiceMetrics


@pytest.mark.parametrize("seconds", [0, *BOUNDS, 1e6])
def test_time_is_counted_under_its_bound(seconds):
    """A bucket includes its upper bound, as Prometheus defines it."""
    metrics = ServiceMetrics("1")
    metrics.count("/", "POST", 200, seconds)
    families = {family.name: family for family in metrics.collect()}
    for sample in families["http_request_duration_seconds"].samples:
        if sample.name.endswith("_bucket"):
            assert sample.value == (seconds <= float(sample.labels["le"]))


def test_labels_know_routes_with_parameters():
    """The label of a path is its route, whatever the parameters are."""
    label = RouteLabels(["/", "/items/{name}", "/files/{path:path}"])
    assert label("/") == "/"
    assert label("/items/x") == "/items/{name}"
    assert label("/files/a/b") == "/files/{path:path}"
    assert label("/items/x/y") == UNMATCHED
