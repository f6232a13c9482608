"""Services on the command line, with no plugin that serves."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core_worker.serving.ports import free_port
from fal_testing.harness.processes import wait_until

#: Seconds that anything may take; most takes a fraction of one.
PATIENCE = 60

SOURCE = """
import http.server

from fal_core import function


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("asked for", self.path, flush=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"one")

    def log_message(self, *_): ...


@function("current", exposed_port={port})
def serve():
    http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()


@function("current", exposed_port={port})
def named(*names: str):
    print("named", *names, flush=True)
    http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()


@function("current", exposed_port={port})
def fail():
    raise LookupError("no model")


@function("current")
def plain(): ...
"""


class Program:
    """A ``fal-core run`` that goes on, with its output."""

    def __init__(self, command_line: Any, port: int, *arguments: str) -> None:
        self.port = port
        self.printed: Path = command_line.folder / "printed"
        with self.printed.open("w") as file:
            self.process = subprocess.Popen(
                [*command_line.argv, "run", *arguments],
                cwd=command_line.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**command_line.variables, "PYTHONUNBUFFERED": "1"},
                # An interrupt of its group is none of these tests.
                start_new_session=True,
            )

    def wait_for(self, text: str) -> None:
        """Wait until *text* is printed."""
        assert wait_until(lambda: text in self.printed.read_text(), PATIENCE), (
            self.printed.read_text()
        )

    def ask(self) -> str:
        """Return the answer of the service; empty if there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/path") as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            return ""

    def end(self) -> int:
        """Interrupt it, and return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.fixture
def port() -> int:
    """A port that is free."""
    return free_port()


@pytest.fixture
def start(command_line: Any, port: int) -> Iterator[Callable[..., Program]]:
    """Run a file of services on a port of their own."""
    command_line.write("app.py", SOURCE.format(port=port))
    programs: list[Program] = []

    def begin(*arguments: str) -> Program:
        programs.append(Program(command_line, port, *arguments))
        return programs[-1]

    yield begin
    for program in programs:
        if program.process.poll() is None:
            program.process.kill()
            program.process.wait()


def test_a_service_is_served_until_it_is_interrupted(start: Any) -> None:
    """Its URL and its lines are printed; an interrupt ends it well, and frees its port."""
    program = start("app.py::serve")
    program.wait_for(f"run  http://127.0.0.1:{program.port}")
    assert program.ask() == "one"
    program.wait_for("asked for /path")
    assert program.end() == 0
    assert "Ending; requests that run may finish." in program.printed.read_text()
    assert "Traceback" not in program.printed.read_text()
    assert program.ask() == ""


def test_a_service_gets_its_arguments(start: Any) -> None:
    """A function that serves by itself takes what the command line gives."""
    program = start("app.py::named", "one", "two")
    program.wait_for(f"run  http://127.0.0.1:{program.port}")
    program.wait_for("named one two")
    assert program.end() == 0


def test_a_saved_file_starts_a_service_again(start: Any, command_line: Any, port: int) -> None:
    """With ``--reload`` the next version has the same port, and a broken one is waited for."""
    program = start("app.py::serve", "--reload", "--port", str(port))
    program.wait_for("run  http://")
    source = SOURCE.format(port=port)
    command_line.write("app.py", f"{source}\nraise LookupError('broken')\n")
    program.wait_for("Waiting for a change.")
    assert "Changed: app.py. Starting again." in program.printed.read_text()
    assert "broken" in program.printed.read_text()
    command_line.write("app.py", source.replace('b"one"', 'b"another"'))
    assert wait_until(lambda: program.printed.read_text().count("run  http") == 2, PATIENCE)
    assert program.ask() == "another"
    assert program.end() == 0


def test_a_service_that_fails_shows_why(start: Any) -> None:
    """What a service raises is shown with its traceback, and the exit code is 1."""
    program = start("app.py::fail")
    assert program.process.wait(PATIENCE) == 1
    printed = program.printed.read_text()
    assert "in fail" in printed
    assert printed.count("LookupError: no model") >= 1
    assert "Error: The service has ended: LookupError: no model" in printed


#: Runs the command line on a thread, which gets no signals.
THREADED = """
import threading

from fal_core.cli import main

thread = threading.Thread(target=main, args=(["run", "app.py::fail"],))
thread.start()
thread.join()
"""


def test_a_service_is_run_on_any_thread(start: Any, command_line: Any) -> None:
    """A program that runs the command line on another thread handles signals itself."""
    command_line.write("threaded.py", THREADED)
    ran = subprocess.run(
        [sys.executable, "threaded.py"],
        cwd=command_line.folder,
        env=command_line.variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "Error: The service has ended: LookupError: no model" in ran.stderr


@pytest.mark.parametrize(
    ("words", "other"),
    [
        (("one",), "Arguments"),
        (("--input", "[1]"), "Arguments"),
        (("--enforce",), "Option '--enforce'"),
        (("--measure",), "Option '--measure'"),
        (("--detach",), "Option '--detach'"),
    ],
)
def test_what_does_not_hold_with_reload_is_refused(
    start: Any, words: tuple[str, ...], other: str
) -> None:
    """Nothing that was asked for beside ``--reload`` is dropped in silence."""
    program = start("app.py::named", "--reload", *words)
    assert program.process.wait(PATIENCE) == 2
    assert f"{other} cannot be given with '--reload'." in program.printed.read_text()


@pytest.mark.parametrize("options", [("--port", "1234"), ("--reload",)], ids=["port", "reload"])
def test_options_of_services_are_for_services(start: Any, options: tuple[str, ...]) -> None:
    """``--port`` and ``--reload`` are refused for functions that are not served."""
    program = start("app.py::plain", *options)
    assert program.process.wait(PATIENCE) == 2
    assert options[0] in program.printed.read_text()
