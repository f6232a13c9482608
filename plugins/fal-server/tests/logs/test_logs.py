"""The logs of runners: kept, searched and followed."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing

from isolate_proto import ListUserKeysRequest
from kept_lines import history

from fal_server.logs import logs as logs_module
from fal_server.logs.log_lines import LogFilter, LogLine
from fal_server.logs.logs import Logs
from fal_server.state.databases import Database


def test_lines_from_many_threads_are_all_kept(plane, add_lines, account, runner_id):
    """Lines may come from any thread, and are numbered in one order."""

    def work(thread: int) -> None:
        for number in range(500):
            line = LogLine(
                message=f"{thread}.{number}",
                account_id=account,
                application="app",
                runner_id=runner_id,
            )
            plane.plane.logs.add(line)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    plane.run(plane.plane.logs.flush())
    filter = LogFilter(account_id=account, runner_id=runner_id)
    found = plane.run(plane.plane.logs.read(filter, size=5000))
    assert len({line.message for line in found}) == 2000
    numbers = [line.number for line in found]
    assert numbers == sorted(set(numbers))
    for thread in range(4):
        own = [line.message for line in found if line.message.startswith(f"{thread}.")]
        assert own == [f"{thread}.{number}" for number in range(500)]


def test_long_lines_are_cut(plane, add_lines, runner_id):
    """
    A line is cut at its limit, and says how much is missing; bytes that are not text are
    replaced.
    """
    add_lines("x" * 100_000, "\ud800 broken")
    with plane.client() as client:
        broken, long = history(client, job_id=runner_id)["items"]
    assert long["message"] == "x" * (64 << 10) + " … (34,464 more characters)"
    assert broken["message"] == "? broken"


def test_old_lines_are_forgotten(plane, add_lines, runner_id):
    """Lines older than the retention time are dropped."""
    add_lines("old", time=1_000_000_000.0)
    add_lines("new", time=2_000_000_000.0)
    assert plane.run(plane.plane.logs.delete(before=1_500_000_000.0)) >= 1
    with plane.client() as client:
        found = history(client, job_id=runner_id)["items"]
    assert [item["message"] for item in found] == ["new"]


def test_logs_outlive_the_server(make_plane):
    """Lines are there after a restart, and those that come then follow them."""
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
    """A stream of logs comes to its end when the server does."""
    plane = make_plane()
    with plane.client() as client, client.stream("POST", "/logs/stream") as answer:
        lines = answer.iter_lines()
        closing = threading.Thread(target=plane.close)
        closing.start()
        assert [line for line in lines if line.startswith("data")] == []
        closing.join()


def test_closed_logs_leave_no_task(tmp_path):
    """Closing writes the lines that were added, and a later line starts no task."""
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")

    def kept() -> list[str]:
        with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
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


def test_slow_follower_is_told_what_it_misses(plane, account, runner_id, monkeypatch):
    """
    A follower that does not read gets the newest lines, after one that says how many it has
    missed.
    """
    monkeypatch.setattr(logs_module, "_FOLLOWED", 20_000)
    logs = plane.plane.logs
    where = {"account_id": account, "application": "app", "runner_id": runner_id}

    async def follow() -> list[str]:
        following = logs.follow(LogFilter(account_id=account, runner_id=runner_id))
        logs.add(LogLine(message="first", **where))
        found = [each.message for each in await anext(following)]
        # Nothing is read until all are written.
        for number in range(1000):
            logs.add(LogLine(message=f"{number}", **where))
        await logs.flush()
        while found[-1] != "999":
            found += [each.message for each in await anext(following)]
        await following.aclose()
        return found

    first, note, *rest = plane.run(follow())
    assert first == "first"
    assert rest == [str(number) for number in range(1000 - len(rest), 1000)]
    missed = f"{1000 - len(rest)} lines were dropped: they came faster than they were read."
    assert note == missed


def test_lines_that_keep_coming_hold_up_no_end(database: Database):
    """The logs are closed even while lines come faster than they are written."""
    ended = threading.Event()

    async def close() -> None:
        lines = Logs(database)

        def add() -> None:
            while not ended.is_set():
                lines.add(
                    LogLine(message="more", account_id="me", application="app", runner_id="1")
                )

        thread = threading.Thread(target=add)
        thread.start()
        try:
            await lines.close()
        finally:
            ended.set()
            thread.join()

    asyncio.run(close())
