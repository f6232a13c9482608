"""Captured output: what functions print, while they run and afterwards."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_core.events import Log
from fal_core_worker.output.capture import Output
from fal_host_local import LocalHost
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Recorder


def record(isolated: Any, *arguments: Any) -> Recorder:
    recorder = Recorder(isolated.make_launcher())
    recorder.launch(*arguments)
    return recorder


def parts(recorder: Recorder) -> list[str]:
    """Return the partial lines that were shown."""
    logs = [event for event in list(recorder.events) if isinstance(event, Log)]
    return [log.message for log in logs if log.partial]


@pytest.mark.parametrize("stage", ["read", "sent"])
def test_a_call_ends_after_lines_that_another_thread_moves(stage: str) -> None:
    """
    The end of a call waits for a line that another thread is reading from the pipe of
    child processes, or is sending.
    """
    order: list[str] = []
    reader, writer = os.pipe()
    threads: list[threading.Thread] = []

    def end_call() -> None:
        output.flush_call()
        order.append("ended")

    def note(reached: str) -> None:
        if reached == stage and not threads:
            threads.append(threading.Thread(target=end_call))
            threads[0].start()
            # It waits for this thread, so this is how long it is given to go ahead.
            threads[0].join(0.2)
        order.append(reached)

    def find_place() -> tuple[int, int]:
        note("read")
        return 1, 0

    output = Output(lambda block: note("sent"), (reader, os.dup(writer)))
    output.current_below = find_place
    output._pipes.add(0)
    # Nothing else holds the call up.
    os.close(output._pipes.unconnected.pop(0))
    os.write(writer, b"a line\n")
    output.flush()
    threads[0].join()
    for descriptor in (writer, *output.descriptors):
        os.close(descriptor)
    assert order == ["read", "sent", "ended"]


def test_a_flushed_part_of_a_line_is_seen_while_the_function_runs(
    local_host: LocalHost, tmp_path: Path
):
    """A prompt is shown when it is flushed; the line comes whole as it ends."""

    def ask(path: str) -> None:
        import os

        print("answer: ", end="", flush=True)
        # Until the test has seen the prompt.
        while not os.path.exists(path):
            time.sleep(0.01)
        print("yes")

    answer = tmp_path / "answer"
    recorder = record(function("current", host=local_host)(ask), str(answer))
    assert wait_until(lambda: parts(recorder) == ["answer: "], 30)
    assert not recorder.ended
    answer.touch()
    recorder.result(30)
    assert [log.message for log in recorder.printed] == ["answer: yes"]


@pytest.mark.parametrize("where", ["start", "end", "stderr", "child"])
def test_a_progress_bar_is_seen_as_it_moves(local_host: LocalHost, where: str, tmp_path: Path):
    """
    The states of a progress bar are shown, in whichever way it is written, and its last
    state remains as one line.
    """

    def move(where: str, path: str) -> None:
        import os
        import subprocess
        import sys

        def show(text: str) -> None:
            if where == "start":
                print(f"\r{text}", end="", flush=True)
            elif where == "end":
                print(text, end="\r")
            elif where == "stderr":
                sys.stderr.write(f"\r{text}")
                sys.stderr.flush()
            else:
                subprocess.run(["printf", f"\\r{text}"], check=True)

        for number in range(5):
            show(f"step {number}")
        # Until the test has seen the last step.
        while not os.path.exists(path):
            time.sleep(0.01)
        show("step 9")
        print(file=sys.stderr if where == "stderr" else sys.stdout)
        if where == "child":
            os.write(1, b"\n")

    seen = tmp_path / "seen"
    recorder = record(function("current", host=local_host)(move), where, str(seen))
    assert wait_until(lambda: "step 4" in parts(recorder), 30)
    seen.touch()
    recorder.result(30)
    lines = [log.message for log in recorder.printed if log.message]
    assert [line.rpartition("\r")[2] or line for line in lines] in (["step 9"], ["step 9\r"])
    assert all("\r" not in part for part in parts(recorder))


def test_many_states_are_few_events(local_host: LocalHost):
    """Showing a line anew and anew costs little: what comes too fast is left out."""

    def move() -> None:
        for number in range(200_000):
            print(f"\rstep {number}", end="", flush=True)
        print()

    recorder = record(function("current", host=local_host)(move))
    recorder.result(120)
    assert [log.message for log in recorder.printed] == ["step 199999"]
    assert len(parts(recorder)) < 2000


def test_lines_printed_whole_are_kept_as_they_are(local_host: LocalHost):
    """A carriage return inside a line that nothing has shown before stays there."""
    recorder = record(function("current", host=local_host)(lambda: print("a\rb")))
    recorder.result(30)
    assert [log.message for log in recorder.printed] == ["a\rb"]


def test_output_of_a_child_process_comes_in_order(local_host: LocalHost):
    """Output of a child process comes before what the function prints after it."""

    def order() -> None:
        import subprocess

        for number in range(5):
            print("before", number)
            subprocess.run(["echo", f"child {number}"], check=True)
            print("after", number)

    recorder = record(function("current", host=local_host)(order))
    recorder.result(60)
    expected = [
        f"{word} {number}" for number in range(5) for word in ("before", "child", "after")
    ]
    assert [log.message for log in recorder.printed] == expected


@pytest.mark.parametrize("multiplexing", [1, 2])
def test_output_of_a_thread_after_its_call_arrives(
    local_host: LocalHost, multiplexing: int, monkeypatch: pytest.MonkeyPatch
):
    """
    Output of a thread that outlives its call arrives although no other call is made, and
    so does that of a child process.
    """

    def leave() -> None:
        import subprocess
        import threading

        def speak() -> None:
            # Longer than the output of an idle worker goes unread.
            time.sleep(1.5)
            print("late")
            subprocess.run(["echo", "late child"], check=True)

        threading.Thread(target=speak).start()

    # Reading what capsys has captured loses what another thread prints meanwhile.
    heard = StringIO()
    monkeypatch.setattr(sys, "stdout", heard)

    def is_heard() -> bool:
        return {"late", "late child"} <= set(heard.getvalue().splitlines())

    function("current", host=local_host, max_multiplexing=multiplexing, keep_alive=60)(leave)()
    if not wait_until(is_heard, 30):
        # The thread that reads all workers may be held up by another one.
        faulthandler.dump_traceback(sys.__stderr__)
        pytest.fail(f"{heard.getvalue()!r} was heard.")
