"""The last output of workers that crash: found in the pipes that they could not read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from fal_core import WorkerLost, function
from fal_core.workers import CrashOutput
from fal_core.workers.payloads_in import unpack_lines
from fal_core_worker.output import standard_streams
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("end", ["exit", "kill", "crash"])
@pytest.mark.parametrize("way", ["print", "error", "below", "part"])
def test_last_output_of_a_worker_arrives(capfd, way, end):
    """
    Output that was printed and flushed before a worker ends during a call arrives before
    the error.
    """

    @function("current")
    def leave(way: str, end: str) -> None:
        import ctypes
        import sys

        if way == "print":
            print("the last words", flush=True)
        elif way == "error":
            print("the last words", file=sys.stderr)
        elif way == "below":
            os.write(1, b"the last words\n")
        elif end == "exit":
            print("the last", "words", end="")
        else:
            print("the last words")
            print("and more", end="", flush=True)
        if end == "exit":
            os._exit(1)
        elif end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        ctypes.string_at(0)

    with pytest.raises(WorkerLost):
        leave(way, end)

    out, errors = capfd.readouterr()
    assert "the last words" in (errors if way == "error" else out)


def test_stack_traces_of_a_crash_arrive(capfd):
    """The stacks that ``faulthandler`` writes while a worker crashes are seen."""

    @function("current")
    def crash() -> None:
        import ctypes
        import faulthandler

        faulthandler.enable(open(2, "w", closefd=False))  # noqa: SIM115  # to the end
        ctypes.string_at(0)

    with pytest.raises(WorkerLost):
        crash()

    assert "in crash" in capfd.readouterr().err


def run(crash_output: CrashOutput, program: str) -> None:
    """Run *program* with its standard output and error in the pipes, until it has ended."""
    _, out, _, errors = crash_output.given
    subprocess.run([sys.executable, "-c", program], stdout=out, stderr=errors, check=True)


def test_what_was_not_read_is_taken_by_level() -> None:
    """The lines left in both pipes are the payload of one frame, for the channel that is told."""
    crash_output = CrashOutput()
    run(crash_output, "import os; os.write(1, b'one\\ntwo\\n'); os.write(2, b'\\xff')")
    crash_output.close_given()

    taken = unpack_lines(crash_output.take(7))
    assert [(level, channel, text) for level, _, channel, _, text in taken] == [
        (0, 7, "one\ntwo"),
        (1, 7, "\\xff"),
    ]
    assert crash_output.take(7) == b""
    crash_output.close()


def test_a_child_that_goes_on_writing_is_not_waited_for() -> None:
    """Taking ends, whoever still has the pipes open, and however fast they are filled."""
    crash_output = CrashOutput()
    argv = [sys.executable, "-c", "import os\nwhile True: os.write(1, b'x' * 65536)"]
    with subprocess.Popen(argv, stdout=crash_output.given[1]) as child:
        try:
            taken = b""
            while not taken:
                taken = crash_output.take(0)
        finally:
            child.kill()
    ((_, _, _, _, text),) = unpack_lines(taken)
    assert set(text) == {"x"}
    # The last of several reads may go beyond.
    assert len(text) < 3 * standard_streams.SIZE
    crash_output.close_given()
    crash_output.close()


def test_all_descriptors_are_closed() -> None:
    """Nothing stays open once both ends were closed, which may be done again."""
    before = set(os.listdir("/proc/self/fd"))
    crash_output = CrashOutput()
    for _ in range(2):
        crash_output.close_given()
        crash_output.close()
    # Workers of other tests may be opened and closed meanwhile.
    assert wait_until(lambda: set(os.listdir("/proc/self/fd")) <= before, 60)
