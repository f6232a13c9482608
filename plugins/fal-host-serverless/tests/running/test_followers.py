"""Threads that follow runs, each one run after the other."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from fal_host_serverless.running import followers
from fal_host_serverless.running.followers import follow
from fal_testing.harness.processes import wait_until

PATIENCE = 60

FORKING = """
import os, threading
from fal_host_serverless.running.followers import follow

def run() -> bool:
    done = threading.Event()
    follow(done.set)
    return done.wait(10)

assert run()
child = os.fork()
if child == 0:
    os._exit(0 if run() else 1)
assert os.waitpid(child, 0)[1] == 0
assert run()
"""


def test_runs_that_follow_each_other_share_threads():
    """A thread takes the next run as soon as it has followed one."""
    threads = set()
    for _ in range(50):
        done = threading.Event()

        def work(done: threading.Event = done) -> None:
            threads.add(threading.current_thread())
            done.set()

        follow(work)
        assert done.wait(PATIENCE)
    assert threading.current_thread() not in threads
    # The next run may come before a thread has noted that it is idle.
    assert len(threads) < 10


def test_runs_at_one_time_do_not_wait_for_each_other():
    """Every run that has begun is followed, however many there are."""
    met = threading.Barrier(20)
    ended = threading.Semaphore(0)

    def work() -> None:
        met.wait(PATIENCE)
        ended.release()

    for _ in range(met.parties):
        follow(work)
    for _ in range(met.parties):
        assert ended.acquire(timeout=PATIENCE)


def test_threads_that_are_idle_end_and_lose_no_run(monkeypatch: pytest.MonkeyPatch):
    """A run that is given to a thread as it ends is still followed."""
    monkeypatch.setattr(followers, "_IDLE", 0.0)
    threads: list[threading.Thread] = []
    ended = threading.Semaphore(0)

    def work() -> None:
        threads.append(threading.current_thread())
        ended.release()

    for _ in range(100):
        follow(work)
        assert ended.acquire(timeout=PATIENCE)
    assert wait_until(lambda: not any(each.is_alive() for each in threads), PATIENCE)


def test_forked_child_follows_on_threads_of_its_own():
    """The threads of the parent are none of the child's."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING]
    subprocess.run(command, check=True, timeout=PATIENCE)
