"""Services on the command line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from fal_core_worker.serving.ports import free_port
from fal_testing.harness.processes import wait_until

#: Seconds that anything may take; most takes a fraction of one.
PATIENCE = 60

SOURCE = """\
from fal_serve import App, endpoint
from beside import FACTOR


class Times(App, kind="current"):
    @endpoint("/times")
    def times(self, number: int) -> int:
        print("asked for", number)
        return number * FACTOR
"""

SERVED = """\
from fal_core import function


@function("current", serve=True)
def double(number: int) -> int:
    return 2 * number
"""


class Program:
    """A ``fal-core run`` in a directory, with its output."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.printed = directory / "printed"
        with self.printed.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fal_core.cli", "run", *arguments],
                cwd=directory,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                # An interrupt of its group is none of these tests.
                start_new_session=True,
            )

    def wait_for(self, text: str) -> str:
        """Wait until *text* is printed, and return the whole output."""
        until = time.monotonic() + PATIENCE
        while text not in self.printed.read_text():
            assert self.process.poll() is None or text in self.printed.read_text(), (
                self.printed.read_text()
            )
            assert time.monotonic() < until, self.printed.read_text()
            # Until it is printed.
            time.sleep(0.02)
        return self.printed.read_text()

    def end(self) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Run ``fal-core run`` on an application and a module beside it."""
    (tmp_path / "service.py").write_text(SOURCE)
    (tmp_path / "beside.py").write_text("FACTOR = 2\n")
    programs: list[Program] = []

    def begin(*arguments: str) -> Program:
        programs.append(Program(tmp_path, *arguments))
        return programs[-1]

    yield begin
    for program in programs:
        program.end()


@pytest.fixture
def port() -> int:
    """A port that is free."""
    return free_port()


def ask(port: int, number: int) -> Any:
    """Return the response of the service at *port*, or None if there is none."""
    try:
        return httpx.post(
            f"http://127.0.0.1:{port}/times", params={"number": number}, timeout=PATIENCE
        ).json()
    except (httpx.TransportError, ValueError):
        return None


def wait_for_answer(port: int, number: int, expected: int) -> None:
    """Wait until the service at *port* returns *expected*."""
    assert wait_until(lambda: ask(port, number) == expected, PATIENCE)


def test_a_served_function_takes_its_arguments_of_requests(start, tmp_path, port):
    """It is run without arguments, whatever its parameters are; with some, it is an error."""
    (tmp_path / "served.py").write_text(SERVED)
    program = start("served.py::double", "--port", str(port))
    program.wait_for(f"http://127.0.0.1:{port}")
    url = f"http://127.0.0.1:{port}/"
    assert httpx.post(url, params={"number": 4}, timeout=PATIENCE).json() == 8

    for words in (["4"], ["--input", "[4]"]):
        refused = start("served.py::double", *words)
        assert refused.process.wait(PATIENCE) == 2
        refused.wait_for("Error: A service takes its arguments of requests.")


@pytest.mark.parametrize(
    ("number", "options"),
    [(signal.SIGINT, ()), (signal.SIGTERM, ()), (signal.SIGTERM, ("--reload",))],
)
def test_a_service_is_run_and_ended_by_a_signal(start, port, number, options):
    """``run`` prints the url and the log of a service, and Ctrl-C or SIGTERM ends it cleanly."""
    program = start("service.py::Times", "--port", str(port), *options)
    program.wait_for(f"http://127.0.0.1:{port}")

    assert ask(port, 4) == 8
    program.wait_for("asked for 4")
    assert '"path":"/times"' in program.wait_for('"status":200')
    program.process.send_signal(number)

    assert program.process.wait(PATIENCE) == 0
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


@pytest.mark.parametrize("options", [(), ("--reload",)])
def test_a_service_whose_output_nobody_reads_ends(start, port, tmp_path, options):
    """A service ends silently when its output pipe is closed, and frees its port."""
    (tmp_path / "service.py").write_text(SOURCE)
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "fal_core.cli",
            "run",
            "service.py",
            "--port",
            str(port),
            *options,
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(PATIENCE) == 1
        assert process.stderr.read() == ""
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_the_only_application_of_a_file_needs_no_name(start, port):
    """The name may be omitted if a file has only one application."""
    start("service.py", "--port", str(port)).wait_for(f"http://127.0.0.1:{port}")

    assert ask(port, 1) == 2


def test_a_saved_file_starts_the_service_again(start, port, tmp_path):
    """``--reload`` serves saved changes at the same port, including modules beside the file."""
    program = start("service.py::Times", "--reload", "--port", str(port))
    wait_for_answer(port, 3, 6)

    (tmp_path / "beside.py").write_text("FACTOR = 55\n")
    wait_for_answer(port, 3, 165)
    (tmp_path / "service.py").write_text(SOURCE.replace("number * FACTOR", "number + FACTOR"))
    wait_for_answer(port, 3, 58)

    program.process.send_signal(signal.SIGINT)
    assert program.process.wait(PATIENCE) == 0


def test_a_version_is_of_a_process_of_its_own(start, port, tmp_path):
    """Imports and global state of one version do not affect the next."""
    mark = "import sys\nFACTOR = len([k for k in sys.modules if k.startswith('mark')])\n"
    (tmp_path / "marks.py").write_text("")
    (tmp_path / "beside.py").write_text(mark + "import marks\n")
    start("service.py::Times", "--reload", "--port", str(port))
    wait_for_answer(port, 3, 0)

    (tmp_path / "beside.py").write_text(mark + "FACTOR += 7\n")
    wait_for_answer(port, 3, 21)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_of_a_reloaded_service_counts_once(start, port, tmp_path, number):
    """
    Ctrl-C in a terminal reaches every process of the command, as SIGTERM may: running requests
    still finish, and the command ends cleanly.
    """
    slow = SOURCE.replace(
        "        print(",
        # Still runs when the interrupt comes, and finishes within the grace.
        "        import time; print('begun'); time.sleep(2)\n        print(",
    )
    (tmp_path / "service.py").write_text(slow)
    program = start("service.py::Times", "--reload", "--port", str(port))
    program.wait_for(f"http://127.0.0.1:{port}")

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, port, 4)
        program.wait_for("begun")
        os.killpg(program.process.pid, number)
        assert answer.result(PATIENCE) == 8
    assert program.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("options", [(), ("--reload",)])
def test_a_second_interrupt_ends_requests_that_run(start, port, tmp_path, options):
    """A second Ctrl-C ends the service at once, with an exit code of its own."""
    slow = SOURCE.replace(
        "        print(",
        # Ends by the second interrupt.
        "        import time; print('begun'); time.sleep(600)\n        print(",
    )
    (tmp_path / "service.py").write_text(slow)
    program = start("service.py::Times", "--port", str(port), *options)
    program.wait_for(f"http://127.0.0.1:{port}")

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, port, 4)
        program.wait_for("begun")
        os.killpg(program.process.pid, signal.SIGINT)
        program.wait_for("Ctrl-C again ends it at once.")
        assert program.process.poll() is None
        os.killpg(program.process.pid, signal.SIGINT)
        assert program.process.wait(PATIENCE) == 130
        assert answer.result(PATIENCE) != 8
    assert "Traceback" not in program.printed.read_text()


def test_a_reloaded_service_ends_with_its_command(start, port):
    """However the command ends, its service ends too."""
    program = start("service.py::Times", "--reload", "--port", str(port))
    wait_for_answer(port, 3, 6)

    program.process.kill()

    assert wait_until(lambda: ask(port, 3) is None, PATIENCE)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (SOURCE + "\nwrong = (\n", "SyntaxError"),
        (SOURCE.replace('kind="current"', 'kind="curent"'), "curent"),
        (
            SOURCE + "\n    def setup(self):\n        raise LookupError('no model')\n",
            "no model",
        ),
    ],
)
def test_a_file_that_is_broken_is_waited_for(start, port, tmp_path, broken, said):
    """``--reload`` reports the error of a version, and serves the next valid one."""
    program = start("service.py::Times", "--reload", "--port", str(port))
    wait_for_answer(port, 3, 6)

    (tmp_path / "service.py").write_text(broken)
    assert said in program.wait_for("Waiting for a change.")
    (tmp_path / "service.py").write_text(SOURCE.replace("FACTOR\n\n", "FACTOR\n\n# mended\n"))

    wait_for_answer(port, 3, 6)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (SOURCE.replace('"current"', '"curent"'), "No kind of environment is called 'curent'."),
        (
            SOURCE + '\n    @endpoint("/times")\n    def more(self): ...\n',
            "Class 'Times': 'more' and 'times' are both the endpoint at '/times'.",
        ),
    ],
)
def test_a_wrong_declaration_is_told_where_it_is_written(start, tmp_path, source, said):
    """The error has the location of the class, not that of the check."""
    (tmp_path / "service.py").write_text(source)
    program = start("service.py")
    assert program.process.wait(PATIENCE) == 1

    assert program.printed.read_text().startswith(f"Error: service.py:5: {said}")


FAILING = "\n    def setup(self):\n        {}\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            SOURCE.replace('kind="current"', 'kind="current", startup_timeout=0.5')
            # Ends by the startup_timeout.
            + FAILING.format("import time; time.sleep(100)"),
            "The setup has not ended within the startup_timeout of 0.5 s.",
        ),
        (
            SOURCE.replace("@endpoint", "# @endpoint"),
            "Error: service.py:5: Class 'Times' has no endpoint",
        ),
        (SOURCE, "'fal-core run --port' gives it another."),
    ],
)
def test_a_service_that_cannot_start_is_one_sentence(start, tmp_path, source, said):
    """An error of fal-serve at the start is shown without a traceback."""
    (tmp_path / "service.py").write_text(source)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1]) if source is SOURCE else "0"
        program = start("service.py::Times", "--port", port)
        assert program.process.wait(PATIENCE) == 1

    printed = program.printed.read_text()
    assert printed.startswith("Error: ")
    assert said in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("options", [(), ("--reload",)])
def test_a_setup_that_raises_is_shown_once(start, tmp_path, options):
    """The traceback of a setup begins at the user's frame, and is shown once."""
    (tmp_path / "service.py").write_text(SOURCE + FAILING.format("import no_such_module"))
    program = start("service.py::Times", *options)
    lines = program.wait_for("The service has ended: ModuleNotFoundError").splitlines()

    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == f'  File "{tmp_path}/service.py", line 12, in setup'
    assert sum("no_such_module" in line for line in lines) == 3
    if not options:
        assert program.process.wait(PATIENCE) == 1


def test_an_interrupt_ends_a_setup_at_once(start, tmp_path):
    """A single Ctrl-C ends a service during its setup."""
    # Ends by the interrupt.
    setup = FAILING.format("import time; print('setting up'); time.sleep(100)")
    (tmp_path / "service.py").write_text(SOURCE + setup)
    program = start("service.py::Times")
    program.wait_for("setting up")
    program.process.send_signal(signal.SIGINT)

    assert program.process.wait(PATIENCE) == 130
    assert "requests that run" not in program.printed.read_text()
