"""Programs that end while calls are under way."""

from __future__ import annotations

import signal
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fal_testing.harness.processes import python_programs

#: Seconds that a program may take.
PATIENCE = 120

#: Functions that leave a mark in a file when they have ended.
FUNCTIONS = """
import os, sys, time
from fal_core import function
from fal_testing import InProcessHost

HOST = InProcessHost() if sys.argv[2:] == ["in-process"] else "local"

@function("current", host=HOST)
def note_in(path, seconds):
    import time
    time.sleep(seconds)
    with open(path, "a") as file:
        file.write("x")

PATH = sys.argv[1]
"""

Program = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """The file that functions leave marks in."""
    path = tmp_path / "marks"
    path.touch()
    return path


@pytest.fixture
def start(tmp_path: Path, marks: Path) -> Iterator[Program]:
    """Start a program that has the functions."""
    with python_programs() as start_python:

        def start(source: str, *arguments: str) -> subprocess.Popen[str]:
            path = tmp_path / "program.py"
            path.write_text(FUNCTIONS + textwrap.dedent(source))
            return start_python(str(path), str(marks), *arguments)

        yield start


@pytest.mark.parametrize("host", ["local", "in-process"])
def test_submitted_calls_are_waited_for(start: Program, marks: Path, host: str) -> None:
    """A program that ends lets submitted calls finish, those among them that wait for a worker."""
    program = start("futures = [note_in.submit(PATH, 0.05) for _ in range(9)]", host)
    _, errors = program.communicate(timeout=PATIENCE)
    assert marks.read_text() == "x" * 9
    assert (program.returncode, errors.count("Traceback")) == (0, 0)


@pytest.mark.parametrize(
    ("end", "code"), [("raise LookupError('gone')", 1), ("sys.exit(7)", 7)]
)
def test_submitted_calls_are_waited_for_after_an_exception(
    start: Program, marks: Path, end: str, code: int
) -> None:
    """Work is not lost because the program raised or exited."""
    program = start(f"note_in.submit(PATH, 0.3)\n{end}")
    program.communicate(timeout=PATIENCE)
    assert marks.read_text() == "x"
    assert program.returncode == code


def test_calls_that_a_callback_submits_are_waited_for(start: Program, marks: Path) -> None:
    """A call that another one leads to after the end of the program is made as well."""
    program = start(
        """
        first = note_in.submit(PATH, 0.2)
        first.add_done_callback(lambda _: note_in.submit(PATH, 0.2))
        """
    )
    program.communicate(timeout=PATIENCE)
    assert marks.read_text() == "xx"


@pytest.mark.parametrize("host", ["local", "in-process"])
@pytest.mark.parametrize("way", ["submit(PATH, 0)", "spawn(PATH, 0).future"])
def test_callbacks_may_wait_for_other_calls(start: Program, host: str, way: str) -> None:
    """
    A callback that makes other calls and waits for them gets their results, while the
    program goes on and after it has ended.
    """
    program = start(
        f"""
        @function("current", host=HOST)
        def other(number):
            return number

        def call_back(future):
            assert other(1) == 1
            assert list(other.map([1, 2])) == [1, 2]
            assert other.submit(3).result() == 3
            assert note_in.spawn(PATH, 0).return_value is None
            note_in(PATH, 0)
            print("called", flush=True)
            called.set()

        import threading
        called = threading.Event()
        note_in.{way}.add_done_callback(call_back)
        called.wait()
        note_in.submit(PATH, 0.1).add_done_callback(call_back)
        """,
        host,
    )
    output, errors = program.communicate(timeout=PATIENCE)
    assert (program.returncode, output, errors) == (0, "called\n" * 2, "")


def test_ctrl_c_ends_a_program_whose_callback_goes_on(start: Program) -> None:
    """A callback that never ends is waited for like a call, and given up by Ctrl-C."""
    program = start(
        """
        import threading
        @function("current", host="local")
        def wait_for(path):
            import os, time
            while not os.path.exists(path):
                time.sleep(0.01)
        # A callback of a call that has ended is called at once, in this thread.
        wait_for.submit(PATH + ".open").add_done_callback(lambda _: threading.Event().wait())
        open(PATH + ".open", "w").close()
        """
    )
    assert program.stderr is not None
    assert program.stderr.readline() == (
        "The program has ended, and waits for 1 submitted call. Ctrl-C cancels it.\n"
    )
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=PATIENCE)
    assert errors == ""


def test_calls_that_atexit_submits_are_refused(start: Program, marks: Path) -> None:
    """
    A call that is submitted when nothing can wait for it any more raises, also after others
    were waited for; it is not lost in silence.
    """
    program = start(
        """
        import atexit
        atexit.register(note_in.submit, PATH, 0)
        note_in.submit(PATH, 0.1)
        """
    )
    _, errors = program.communicate(timeout=PATIENCE)
    assert "RuntimeError: A call was submitted when nothing could keep the program" in errors
    assert marks.read_text() == "x"


def test_threads_may_submit_after_the_end_of_the_main_thread(
    start: Program, marks: Path
) -> None:
    """
    A thread that goes on when the main thread has ended, and its calls too, submits calls
    that are waited for.
    """
    program = start(
        """
        import threading

        def go_on():
            threading.main_thread().join()
            first = note_in.submit(PATH, 0)
            first.result()
            watchers = [t for t in threading.enumerate() if t.name == "fal-core end"]
            for watcher in watchers:
                watcher.join()
            note_in.submit(PATH, 0.3)

        threading.Thread(target=go_on).start()
        """
    )
    _, errors = program.communicate(timeout=PATIENCE)
    assert (program.returncode, errors) == (0, "")
    assert marks.read_text() == "xx"


def test_calls_of_daemons_are_waited_for(start: Program, marks: Path) -> None:
    """A call is waited for whichever thread has submitted it."""
    program = start(
        """
        import threading
        daemon = threading.Thread(target=note_in.submit, args=(PATH, 0.3), daemon=True)
        daemon.start()
        daemon.join()
        """
    )
    program.communicate(timeout=PATIENCE)
    assert marks.read_text() == "x"


def test_waiting_is_told_and_can_be_interrupted(start: Program, marks: Path) -> None:
    """
    A program that waits for longer says for how many calls, and Ctrl-C cancels them; no
    traceback is printed.
    """
    program = start(
        """
        futures = [note_in.submit(PATH, 600) for _ in range(3)]
        for future in futures:
            future.add_done_callback(lambda future: print(future.cancelled(), flush=True))
        """
    )
    assert program.stderr is not None
    assert program.stderr.readline() == (
        "The program has ended, and waits for 3 submitted calls. Ctrl-C cancels them.\n"
    )
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=PATIENCE)
    assert (output, errors) == ("True\n" * 3, "")
    assert marks.read_text() == ""


def test_calls_that_have_ended_are_not_waited_for(start: Program) -> None:
    """A program whose submitted calls have ended or were cancelled ends at once, in silence."""
    program = start(
        """
        note_in.submit(PATH, 0).result()
        assert note_in.submit(PATH, 600).cancel()
        """
    )
    _, errors = program.communicate(timeout=PATIENCE)
    assert (program.returncode, errors) == (0, "")


def test_nothing_is_waited_for_after_os_exit(start: Program, marks: Path) -> None:
    """A program that ends by ``os._exit`` wants nothing more of Python, and gets that."""
    program = start("note_in.submit(PATH, 600); note_in.spawn(PATH, 600); os._exit(3)")
    _, errors = program.communicate(timeout=PATIENCE)
    assert (program.returncode, errors) == (3, "")
    assert marks.read_text() == ""


def test_a_forked_child_does_not_wait_for_calls_of_its_parent(
    start: Program, marks: Path
) -> None:
    """A child waits for calls that it has submitted itself, by the same function too."""
    program = start(
        """
        future = note_in.submit(PATH, 600)
        spawned = note_in.on(HOST, keep_alive=60).spawn(PATH, 600)
        if not os.fork():
            note_in.submit(PATH, 0.1)
            sys.exit(0)
        print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
        assert future.cancel()
        spawned.cancel()
        """
    )
    output, errors = program.communicate(timeout=PATIENCE)
    assert (program.returncode, output) == (0, "0\n")
    # Where the machine is busy, the child says that it waits, and for how many.
    waits = "The program has ended, and waits for 1 submitted call. Ctrl-C cancels it.\n"
    assert errors in ("", waits)
    assert marks.read_text() == "x"


def test_spawned_calls_that_end_with_the_program_are_named(start: Program) -> None:
    """
    It is said which spawned calls end with the program, and what to do; those that have
    ended, were cancelled or are detached are not named.
    """
    program = start(
        """
        lost = note_in.spawn(PATH, 600)
        note_in.on(HOST, keep_alive=60).spawn(PATH, 600).cancel()
        note_in.on(HOST, keep_alive=61).spawn(PATH, 0).return_value
        detached = note_in.with_policy(lifetime="detached").spawn(PATH, 0)
        """
    )
    _, errors = program.communicate(timeout=PATIENCE)
    assert errors == (
        "Spawned call 'note_in' ends with this program. To let it finish, wait for the "
        "return_value that spawn() gives, or spawn "
        "note_in.with_policy(lifetime='detached').\n"
    )
