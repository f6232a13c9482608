"""
Lines of logs: their limits, and how they are selected.
"""

from __future__ import annotations

from kept_lines import history


def test_long_and_undecodable_lines(plane, add_lines, runner_id):
    """
    A line is cut at its limit, and bytes that are not text are replaced.
    """
    add_lines("x" * 100_000, "\ud800 broken")
    with plane.client() as client:
        broken, long = history(client, job_id=runner_id)["items"]
    assert len(long["message"]) == 64 * 1024
    assert broken["message"] == "? broken"
