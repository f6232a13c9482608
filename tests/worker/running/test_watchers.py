"""The watcher of a worker: calls are observed and ended while they run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from fal_core import function
from fal_core.events import Item, Log, Outcome
from fal_host_local import LocalHost
from fal_testing.harness.recorders import Recorder


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


def test_what_is_sent_beside_a_batch_comes_before_its_end(
    local_host: LocalHost, tmp_path: Path
):
    """
    Outcomes that are sent while a later item of their batch runs come before those that the
    end of the batch sends, however long they take to seal.
    """
    sealing = tmp_path / "sealing"

    class Slow:
        def __reduce__(self) -> Any:
            sealing.touch()
            # The other item ends meanwhile, and nothing of it must be sent.
            time.sleep(0.5)
            return str, ("slow",)

    def give(number: int) -> Any:
        while number and not sealing.exists():
            time.sleep(0.001)
        return number or Slow()

    isolated = function("current", host=local_host, max_concurrency=1)(give)
    recorder = Recorder(isolated.make_launcher())
    recorder.call = recorder.launcher.call([((number,), {}) for number in range(2)], batch=2)
    recorder.follow(local_host.launch(recorder.call, recorder))
    recorder.wait(30)
    ends = [event for event in recorder.events if isinstance(event, Item | Outcome)]
    assert [getattr(event, "first", None) for event in ends] == [0, 1, None]
