"""
The watcher of a worker: calls are observed and ended while they run.
"""

from __future__ import annotations

import time
from typing import Any

from fal_core import function
from fal_core.events import Log
from fal_core.testing.harness.recorders import Recorder
from fal_host_local import LocalHost


def record(isolated: Any, *arguments: Any) -> Recorder:
    recorder = Recorder(isolated.make_launcher())
    recorder.launch(*arguments)
    return recorder


def test_a_call_after_a_short_one_after_a_rest_is_watched(local_host: LocalHost):
    """
    A worker that has rested watches the calls that follow: their lines are seen while
    they run, and they can be ended, however short the first of them was.
    """

    def wait(seconds: float) -> None:
        import time

        if seconds:
            print("waiting")
            time.sleep(seconds)

    isolated = function("current", host=local_host, max_concurrency=1, keep_alive=60)(wait)
    for _ in range(5):
        isolated(0)
        # Longer than it takes until the output of an idle worker is read.
        time.sleep(1.5)
        isolated(0)
        recorder = record(isolated, 60)
        assert recorder.wait_for(Log, 30).message == "waiting"
        recorder.cancel(5)
        recorder.wait(30)
