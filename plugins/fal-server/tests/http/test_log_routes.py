"""The routes for logs: pages, searches and streams."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from kept_lines import BASE, history

from fal_server.http.bodies import to_text
from fal_testing.harness.processes import wait_until


def test_history_is_newest_first(plane, add_lines, runner_id):
    """The lines of a runner come newest first, with their times and levels."""
    add_lines("one", "two", level="STDERR")
    with plane.client() as client:
        found = history(client, job_id=runner_id)
    assert [item["message"] for item in found["items"]] == ["two", "one"]
    assert found["items"][1]["timestamp"] == to_text(BASE)
    assert {item["level"] for item in found["items"]} == {"STDERR"}
    assert found["next_until"] is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_pages_have_every_line_once(plane, add_lines, runner_id, size):
    """Pages of lines have no gaps and no duplicates, also if many lines have the same time."""
    for second in range(4):
        add_lines(*(f"{second}.{n}" for n in range(5)), time=BASE + second)
    seen: list[str] = []
    until: str | None = None
    with plane.client() as client:
        while True:
            query = {"until": until} if until else {}
            page = history(client, job_id=runner_id, page_size=size, **query)
            seen.extend(item["message"] for item in page["items"])
            until = page["next_until"]
            if until is None:
                break
    assert seen == [f"{second}.{n}" for second in (3, 2, 1, 0) for n in (4, 3, 2, 1, 0)]


def test_search_by_text_time_request_and_application(plane, add_lines, runner_id):
    """Lines are found by their text, time, request and application."""
    add_lines("Alpha 100%", "beta_b", "gamma", "delta", request_id="r1")
    add_lines("other", request_id="r2", application="second")
    with plane.client() as client:
        for query, expected in [
            ({"search": "ALPHA"}, ["Alpha 100%"]),
            ({"search": "0%"}, ["Alpha 100%"]),
            ({"search": "a_b"}, ["beta_b"]),
            ({"since": to_text(BASE + 2), "request_id": "r1"}, ["delta", "gamma"]),
            ({"until": "2023-11-14T22:13:21", "request_id": "r1"}, ["beta_b", "Alpha 100%"]),
            ({"request_id": "r2"}, ["other"]),
            ({"app_name": "second"}, ["other"]),
        ]:
            found = history(client, job_id=runner_id, **query)["items"]
            assert [item["message"] for item in found] == expected, query


def test_other_accounts_see_no_lines(plane, add_lines, runner_id):
    """The logs of an account are for that account."""
    add_lines("private")
    with plane.client(plane.add_user("reader")) as client:
        assert history(client, job_id=runner_id)["items"] == []


def test_stream_has_kept_and_new_lines(plane, add_lines, runner_id):
    """A stream begins with the kept lines and continues with new ones, each line once."""
    add_lines("before")
    url = "/logs/stream"
    with (
        plane.client() as client,
        client.stream(
            "POST", url, params={"job_id": runner_id, "since": to_text(BASE)}
        ) as answer,
    ):
        lines = answer.iter_lines()
        assert read_event(lines)["message"] == "before"
        add_lines("after", "later", time=BASE + 5)
        assert read_event(lines)["message"] == "after"
        assert read_event(lines)["message"] == "later"


def read_event(lines: Any) -> Any:
    for line in lines:
        if line.startswith("data: "):
            return json.loads(line.removeprefix("data: "))
    raise AssertionError("The stream has ended.")


def test_stream_of_a_disconnected_client_is_removed(plane, add_lines, runner_id):
    """A subscriber that has disconnected is removed when the next line comes for it."""
    logs = plane.plane.logs

    def is_followed() -> bool:
        # Those of other tests go when they are told that the server is there.
        return any(each.filter.runner_id == runner_id for each in logs._followers)

    def ended() -> bool:
        add_lines("for nobody")
        return not plane.here(is_followed)

    query = {"job_id": runner_id}
    with plane.client() as client, client.stream("POST", "/logs/stream", params=query):
        assert wait_until(lambda: plane.here(is_followed), 60)
    assert wait_until(ended, 60)


def test_tracebacks_are_found_among_lines(plane, add_lines):
    """Messages with an exception are returned whole."""
    text = 'Traceback (most recent call last):\n  File "a.py"\nKeyError: 1'
    since = time.time()
    add_lines("quiet", text, time=since + 1)
    with plane.client() as client:
        found = client.get("/logs/", params={"traceback": "true", "since": to_text(since)})
    assert [each["message"] for each in found.json()] == [text]


def test_levels_and_numbers(plane, add_lines, runner_id):
    """
    Lines of at least a level are found, those that name none as if they were information;
    and those after a line by its number.
    """
    for level in ("DEBUG", "STDERR", "WARNING", "ERROR"):
        add_lines(level.lower(), level=level)
    with plane.client() as client:
        for level, expected in (
            ("warning", ["error", "warning"]),
            ("INFO", ["error", "warning", "stderr"]),
            ("trace", ["error", "warning", "stderr", "debug"]),
        ):
            found = history(client, job_id=runner_id, level=level)["items"]
            assert [item["message"] for item in found] == expected
        number = found[2]["number"]
        later = history(client, job_id=runner_id, after=number)["items"]
        assert [item["message"] for item in later] == ["error", "warning"]
        refused = client.post("/logs/history", params={"level": "loud"})
        assert refused.status_code == 422
        assert "'level' must be one of trace, debug" in refused.json()["detail"]


def test_tracebacks_of_any_age_are_found(plane, add_lines, runner_id):
    """Tracebacks are found however many other lines came after them."""
    text = "Traceback (most recent call last):\n  File\nLookupError: rare"
    add_lines(text, level="ERROR")
    add_lines(*map(str, range(1100)), time=BASE + 1)
    with plane.client() as client:
        query = {"traceback": "true", "job_id": runner_id}
        found = client.get("/logs/", params=query).json()
    assert [item["message"] for item in found] == [text]
