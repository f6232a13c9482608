"""
The logs of runners: kept, searched and followed.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
import uuid
from typing import Any

import httpx
import pytest
from isolate_proto import ListUserKeysRequest

from fal_core.testing.harness.processes import wait_until
from fal_server.http.bodies import to_text
from fal_server.state.databases import Database
from fal_server.store.log_lines import LogFilter, LogLine
from fal_server.store.logs import Logs

BASE = 1_700_000_000.0


@pytest.fixture
def runner() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def account(plane) -> str:
    with plane.client() as client:
        return client.get("/users/current").json()["user_id"]


@pytest.fixture
def add(plane, account, runner):
    """
    Add lines of the test's runner.
    """

    def add(*messages: str, **fields: Any) -> None:
        for number, message in enumerate(messages):
            line = {
                "message": message,
                "account_id": account,
                "application": "app",
                "runner_id": runner,
                "time": BASE + number,
                **fields,
            }
            plane.plane.logs.add(LogLine(**line))
        plane.run(plane.plane.logs.flush())

    return add


def history(client: httpx.Client, **query: Any) -> Any:
    answer = client.post("/logs/history", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_history_is_newest_first(plane, add, runner):
    """
    The lines of a runner come newest first, with their times and levels.
    """
    add("one", "two", level="STDERR")
    with plane.client() as client:
        found = history(client, job_id=runner)
    assert [item["message"] for item in found["items"]] == ["two", "one"]
    assert found["items"][1]["timestamp"] == to_text(BASE)
    assert {item["level"] for item in found["items"]} == {"STDERR"}
    assert found["next_until"] is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_pages_have_every_line_once(plane, add, runner, size):
    """
    Pages of lines have no gaps and no duplicates, also if many lines have the same time.
    """
    for second in range(4):
        add(*(f"{second}.{n}" for n in range(5)), time=BASE + second)
    seen: list[str] = []
    until: str | None = None
    with plane.client() as client:
        while True:
            query = {"until": until} if until else {}
            page = history(client, job_id=runner, page_size=size, **query)
            seen.extend(item["message"] for item in page["items"])
            until = page["next_until"]
            if until is None:
                break
    assert seen == [f"{second}.{n}" for second in (3, 2, 1, 0) for n in (4, 3, 2, 1, 0)]


def test_search_by_text_time_request_and_application(plane, add, runner):
    """
    Lines are found by their text, time, request and application.
    """
    add("Alpha 100%", "beta_b", "gamma", "delta", request_id="r1")
    add("other", request_id="r2", application="second")
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
            found = history(client, job_id=runner, **query)["items"]
            assert [item["message"] for item in found] == expected, query


def test_other_accounts_see_no_lines(plane, add, runner):
    """
    The logs of an account are for that account.
    """
    add("private")
    with plane.client(plane.add_user("reader")) as client:
        assert history(client, job_id=runner)["items"] == []


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


def test_stream_has_kept_and_new_lines(plane, add, runner):
    """
    A stream begins with the kept lines and continues with new ones, each line once.
    """
    add("before")
    url = "/logs/stream"
    with (
        plane.client() as client,
        client.stream("POST", url, params={"job_id": runner, "since": to_text(BASE)}) as answer,
    ):
        lines = answer.iter_lines()
        assert read_event(lines)["message"] == "before"
        add("after", "later", time=BASE + 5)
        assert read_event(lines)["message"] == "after"
        assert read_event(lines)["message"] == "later"


def read_event(lines: Any) -> Any:
    for line in lines:
        if line.startswith("data: "):
            return json.loads(line.removeprefix("data: "))
    raise AssertionError("The stream has ended.")


def test_stream_of_a_disconnected_client_is_removed(plane, add, runner):
    """
    A subscriber that has disconnected is removed when the next line comes for it.
    """
    logs = plane.plane.logs

    def is_followed() -> bool:
        # Those of other tests go when they are told that the server is there.
        return any(each.filter.runner_id == runner for each in logs._followers)

    def ended() -> bool:
        add("for nobody")
        return not plane.here(is_followed)

    query = {"job_id": runner}
    with plane.client() as client, client.stream("POST", "/logs/stream", params=query):
        assert wait_until(lambda: plane.here(is_followed), 60)
    assert wait_until(ended, 60)


def test_tracebacks_are_found_among_lines(plane, add):
    """
    Messages with an exception are returned whole.
    """
    text = 'Traceback (most recent call last):\n  File "a.py"\nKeyError: 1'
    since = time.time()
    add("quiet", text, time=since + 1)
    with plane.client() as client:
        found = client.get("/logs/", params={"traceback": "true", "since": to_text(since)})
    assert [each["message"] for each in found.json()] == [text]


def test_lines_from_many_threads_are_all_kept(plane, add, account, runner):
    """
    Lines may come from any thread, and are numbered in one order.
    """

    def work(thread: int) -> None:
        for number in range(500):
            line = LogLine(
                message=f"{thread}.{number}",
                account_id=account,
                application="app",
                runner_id=runner,
            )
            plane.plane.logs.add(line)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    plane.run(plane.plane.logs.flush())
    filter = LogFilter(account_id=account, runner_id=runner)
    found = plane.run(plane.plane.logs.read(filter, size=5000))
    assert len({line.message for line in found}) == 2000
    numbers = [line.number for line in found]
    assert numbers == sorted(set(numbers))
    for thread in range(4):
        own = [line.message for line in found if line.message.startswith(f"{thread}.")]
        assert own == [f"{thread}.{number}" for number in range(500)]


def test_long_and_undecodable_lines(plane, add, runner):
    """
    A line is cut at its limit, and bytes that are not text are replaced.
    """
    add("x" * 100_000, "\ud800 broken")
    with plane.client() as client:
        broken, long = history(client, job_id=runner)["items"]
    assert len(long["message"]) == 64 * 1024
    assert broken["message"] == "? broken"


def test_old_lines_are_forgotten(plane, add, runner):
    """
    Lines older than the retention time are dropped.
    """
    add("old", time=1_000_000_000.0)
    add("new", time=2_000_000_000.0)
    assert plane.run(plane.plane.logs.delete(before=1_500_000_000.0)) >= 1
    with plane.client() as client:
        found = history(client, job_id=runner)["items"]
    assert [item["message"] for item in found] == ["new"]


def test_logs_outlive_the_server(make_plane):
    """
    Lines are there after a restart, and those that come then follow them.
    """
    first = make_plane()
    with first.client() as client:
        account = client.get("/users/current").json()["user_id"]

    def line(message: str) -> LogLine:
        return LogLine(message=message, account_id=account, application="a", runner_id="r")

    first.plane.logs.add(line("first"))
    first.close()
    second = make_plane()
    second.plane.logs.add(line("second"))
    second.run(second.plane.logs.flush())
    found = second.run(second.plane.logs.read(LogFilter(account_id=account)))
    assert [each.message for each in found] == ["first", "second"]
    assert [each.number for each in found] == [1, 2]
    assert second.call("ListUserKeys", ListUserKeysRequest()).user_keys


def test_server_ends_while_somebody_follows(make_plane):
    """
    A stream of logs comes to its end when the server does.
    """
    plane = make_plane()
    with plane.client() as client, client.stream("POST", "/logs/stream") as answer:
        lines = answer.iter_lines()
        closing = threading.Thread(target=plane.close)
        closing.start()
        assert [line for line in lines if line.startswith("data")] == []
        closing.join()


def test_closed_logs_leave_no_task(tmp_path):
    """
    Closing writes the lines that were added, and a later line starts no task.
    """
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")

    def kept() -> list[str]:
        with sqlite3.connect(tmp_path / "state.db") as connection:
            return [text for (text,) in connection.execute("SELECT message FROM logs")]

    async def close() -> None:
        lines = Logs(database)
        lines.add(LogLine(message="before", account_id="me", application="app", runner_id="1"))
        await lines.close()
        lines.add(LogLine(message="after", account_id="me", application="app", runner_id="1"))
        # Let what was scheduled run.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    try:
        asyncio.run(close())
        assert kept() == ["before"]
    finally:
        database.close()
