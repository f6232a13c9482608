"""
Bodies and queries of requests, and what is said of those that are not valid.
"""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "query",
    [
        {"page_size": "0"},
        {"page_size": "1001"},
        {"page_size": "many"},
        {"since": "yesterday"},
        {"until": "9" * 50},
    ],
)
def test_invalid_queries_are_refused(plane, query):
    """
    An invalid page or time is refused with a sentence.
    """
    with plane.client() as client:
        answer = client.post("/logs/history", params=query)
    assert answer.status_code == 422
    assert next(iter(query)) in answer.json()["detail"]
