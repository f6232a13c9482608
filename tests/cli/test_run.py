"""``fal-core run``, with functions that really run."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fal_testing.harness.processes import is_alive, wait_until

FUNCTIONS = """
import os
import sys
import time
from dataclasses import dataclass

from fal_core import function
from sibling import FACTOR


@dataclass
class Point:
    x: int


@function("current")
def add(a: int, b: int = 2) -> int:
    print("adding")
    return a + b


@function("current")
def outer(a: int) -> int:
    return add(a) * FACTOR


@function("current")
def pid() -> int:
    return os.getpid()


@function("current")
def pids() -> bool:
    return pid() == os.getpid()


@function("current")
def nothing() -> None:
    print("done", file=sys.stderr)


@function("current")
def point(x: int) -> Point:
    return Point(x)


@function("current")
def opaque():
    return object()


@function("current")
def count(up_to: int, pause: float = 0.0):
    for number in range(up_to):
        yield number
        time.sleep(pause)


@function("current")
async def later(text: str) -> str:
    return text.upper()


@function("current")
def nap(seconds: int) -> None:
    time.sleep(seconds)


@function("current")
def fail() -> None:
    raise LookupError("gone")


@function("current")
def leave(status: int | str | None) -> None:
    print("leaving")
    sys.exit(status)


@function("current")
def crash() -> None:
    os._exit(3)


@function("current")
def sleep(pid_file: str) -> None:
    with open(pid_file + ".part", "w") as file:
        file.write(str(os.getpid()))
    os.rename(pid_file + ".part", pid_file)
    # Ends by an interrupt or by being cancelled.
    time.sleep(600)


def plain():
    return 1
"""

SLOW_KIND = """
import os
import time
from typing import ClassVar

import attrs
from fal_core import hookimpl
from fal_core.environments import CurrentEnvironment
from fal_core.events import Log

fal_core_api = 1
built = False

@attrs.frozen(kw_only=True)
class Slow(CurrentEnvironment):
    kind: ClassVar[str] = "slow"

    def build(self, log, cancelled):
        global built
        log(Log("fetching the parts", "INFO", "BUILDER", time.time()))
        # Until the test has seen the message.
        while not os.path.exists(os.environ["SEEN"]):
            time.sleep(0.01)
        built = True
        return super().build(log, cancelled)

    def is_built(self):
        return built

@hookimpl
def fal_register_environments():
    return [Slow]
"""

SLOW_FUNCTION = """
from fal_core import function

@function("slow")
def answer() -> int:
    print("asking")
    return 42
"""


@pytest.fixture
def program(command_line: Any) -> Any:
    """The program, beside a file of functions."""
    command_line.write("functions.py", FUNCTIONS)
    command_line.write("sibling.py", "FACTOR = 10\n")
    return command_line


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["functions.py::add", "1"], "adding\n3\n"),
        (["functions.py::add", "1", "--b", "-5"], "adding\n-4\n"),
        (["functions.py::add", "--input", '{"a": 1, "b": 1}'], "adding\n2\n"),
        (["functions.py::add", "1", "--on", "local"], "adding\n3\n"),
        (["functions::add", "1"], "adding\n3\n"),
        (["./functions.py::later", "--", "--text", "hi"], "'HI'\n"),
        (["functions.py::outer", "1"], "adding\n30\n"),
        (["functions.py::count", "3"], "0\n1\n2\n"),
        (["functions.py::point", "1"], "Point(x=1)\n"),
        (["functions.py::nothing"], ""),
        # What a function calls of its own place runs where it runs.
        (["functions.py::pids"], "True\n"),
    ],
)
def test_result_is_printed(program: Any, arguments: list[str], printed: str) -> None:
    """The output and the result of the function are on the standard output; None is not printed."""
    done = program("run", *arguments)
    assert (done.returncode, done.stdout) == (0, printed), done.stderr


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["functions.py::outer", "1"], ["30"]),
        (["functions.py::count", "3"], ["0", "1", "2"]),
        (["functions.py::point", "1"], ['{"x": 1}']),
        (["functions.py::nothing"], ["null"]),
    ],
)
def test_json_has_the_output_alone(
    program: Any, arguments: list[str], printed: list[str]
) -> None:
    """With ``--json`` the standard output has the result, and nothing of the function."""
    done = program("run", *arguments, "--json")
    assert (done.returncode, done.stdout.splitlines()) == (0, printed), done.stderr
    assert ("adding" in done.stderr) == (arguments[0] == "functions.py::outer")


def test_arguments_from_standard_input(program: Any) -> None:
    """``--input -`` reads the arguments from the standard input."""
    done = program("run", "functions.py::add", "--input", "-", text='{"a": 4}')
    assert done.stdout == "adding\n6\n"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ('[1, [2, 5], {"a": 3, "b": 0}]', ""),
        ("-", '1\n\n[2, 5]\n{"a": 3, "b": 0}\n'),
    ],
    ids=["array", "lines"],
)
def test_function_is_called_for_each_item(program: Any, given: str, text: str) -> None:
    """
    With ``--map`` an item of an array, or a line that is read, has the arguments of one call;
    the results are printed in their order, and progress on the standard error.
    """
    arguments = ("run", "functions.py::add", "--map", "--input", given)
    done = program(*arguments, "--json", text=text)
    assert (done.returncode, done.stdout) == (0, "3\n7\n3\n"), done.stderr
    total = "" if text else " of 3"
    assert re.search(rf"^add: 3{total} in [0-9.]+ s$", done.stderr, re.MULTILINE)


def test_failed_item_of_a_map_is_named(program: Any) -> None:
    """Below the traceback stands which item it was, and with which arguments."""
    done = program("run", "functions.py::nap", "--map", "--input", '[0, {"seconds": -1}]')
    assert done.returncode == 1
    assert "\nitem 1 of the map: (seconds=-1)\nError: The function raised V" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text", "told"),
    [
        (["--map"], "", "Option '--map' takes its items from '--input'"),
        (["1", "--map", "--input", "[1]"], "", "Option '--map' takes its items from '--input'"),
        (["--map", "--input", '{"a": 1}'], "", "The items of '--map' must be a JSON array."),
        (["--map", "--input", "[1, {}]"], "", "missing a required argument: 'a'"),
        (["--map", "--input", "-"], "1\nx\n", "Line 2 of the input is not JSON: "),
        (["--map", "--input", "[1]", "--detach"], "", "for calls that are waited for"),
        (["--json", '{"a": 1}'], "", "Arguments as JSON are given by '--input'."),
    ],
)
def test_wrong_input_is_a_usage_error(
    program: Any, arguments: list[str], text: str, told: str
) -> None:
    """The error says what is wrong with the items, or where JSON is taken."""
    done = program("run", "functions.py::add", *arguments, text=text)
    assert done.returncode == 2
    assert told in done.stderr


def test_reference_of_detached_work_is_printed_as_json(program: Any) -> None:
    """With ``--json`` also what detaches prints JSON."""
    done = program("run", "functions.py::nothing", "--detach", "--json")
    reference = json.loads(done.stdout)["reference"]
    done = program("executions", "attach", reference, "--on", "local", "--json")
    assert (done.returncode, done.stdout) == (0, "null\n"), done.stderr


def test_result_without_json_is_one_sentence(program: Any) -> None:
    """A result that JSON cannot say is an error of one sentence."""
    program.write(
        "odd.py",
        """
        from fal_core import function

        @function("current")
        def odd():
            return 1j
        """,
    )
    done = program("run", "odd.py", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: The result cannot be written as JSON: ")


def test_items_are_printed_as_they_come(program: Any) -> None:
    """An item is printed when it has been yielded, not when all have."""
    argv = [*program.argv, "run", "functions.py::count", "3", "--pause", "100"]
    with subprocess.Popen(
        argv, cwd=program.folder, env=program.variables, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 60)
        assert ready
        assert os.read(process.stdout.fileno(), 1) == b"0"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_lines_are_shown_as_they_come(program: Any) -> None:
    """Whoever reads the output from a pipe gets a line when the function has printed it."""
    program.write(
        "waits.py",
        """\
        import time

        from fal_core import function


        @function("current")
        def wait() -> None:
            print("begins")
            # Until the test ends it.
            time.sleep(600)
        """,
    )
    program.variables.pop("PYTHONUNBUFFERED", None)
    with subprocess.Popen(
        [*program.argv, "run", "waits.py"],
        cwd=program.folder,
        env=program.variables,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        try:
            ready, _, _ = select.select([process.stdout], [], [], 60)
            assert ready
            assert process.stdout.readline() == b"begins\n"
        finally:
            process.send_signal(signal.SIGINT)


def test_exception_of_the_function_shows_where(program: Any) -> None:
    """An exception of the function is shown with the traceback of its worker, with exit code 1."""
    done = program("run", "functions.py::fail")
    assert done.returncode == 1
    assert "functions.py" in done.stderr
    assert "in fail" in done.stderr
    assert "LookupError: gone\nError: The function raised LookupError.\n" in done.stderr
    assert "fal_core" not in done.stderr


def test_result_that_cannot_travel_is_one_sentence(program: Any) -> None:
    """The error names the part that cannot travel, and shows no traceback of the pickling."""
    program.write(
        "locked.py",
        """
        from threading import current_thread
        from fal_core import function

        @function("current")
        def one():
            return current_thread()

        @function("current")
        def many():
            yield current_thread()
        """,
    )
    for name in ("one", "many"):
        done = program("run", f"locked.py::{name}")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"Error: The result of {name!r} cannot travel: ")
        assert done.stderr.endswith(". Return what it can be made of again.\n")
        assert len(done.stderr.splitlines()) == 1
    reference = program("run", "locked.py::one", "--detach").stdout.strip()
    done = program("executions", "attach", reference)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    ("status", "code", "said"), [("4", 4, ""), ("null", 0, ""), ('"I leave"', 1, "I leave\n")]
)
def test_exit_code_of_the_function_is_that_of_the_program(
    program: Any, status: str, code: int, said: str
) -> None:
    """A function that exits ends the program as it would end one of its own."""
    done = program("run", "functions.py::leave", "--input", f"[{status}]")
    assert (done.returncode, done.stdout, done.stderr) == (code, "leaving\n", said)


def test_failure_of_the_host_is_one_sentence(program: Any) -> None:
    """A failure of the host is an error of one sentence, with exit code 1."""
    done = program("run", "functions.py::crash")
    assert done.returncode == 1
    assert done.stderr == "Error: Worker of 'crash' exited with code 3 before it answered.\n"


def test_interrupt_cancels_the_call(program: Any, tmp_path: Path) -> None:
    """Ctrl-C ends the call and its worker, with exit code 130."""
    pid_file = tmp_path / "pid"
    argv = [*program.argv, "run", "functions.py::sleep", str(pid_file)]
    with subprocess.Popen(
        argv, cwd=program.folder, env=program.variables, stderr=subprocess.PIPE, text=True
    ) as process:
        assert wait_until(pid_file.exists, 60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.endswith("Interrupted: Ctrl-C ended the command.\n")
    assert "Traceback" not in said
    assert wait_until(lambda: not is_alive(int(pid_file.read_text())), 60)


def test_target_that_does_not_exist_is_a_usage_error(program: Any) -> None:
    """A target that there is not is one sentence, with exit code 2."""
    for command in ("run", "explain"):
        done = program(command, "missing.py::add")
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines() == ["Error: There is no file missing.py."]


def test_a_file_with_several_functions_needs_a_name(program: Any) -> None:
    """One function is run: where a file has several, their names are the error, sorted."""
    program.write(
        "two.py",
        """
        from fal_core import function

        @function("current")
        def b(): ...

        @function("current")
        def a(): ...
        """,
    )
    done = program("run", "two.py")
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        "Error: two.py has these isolated functions: a, b. "
        "Name one of them, as in 'two.py::a'.\n"
    )


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("raises.py::f", "raises.py could not be imported: ZeroDivisionError: "),
        ("typo.py::f", "typo.py:4: Unknown option 'machine_tipe'. Did you mean "),
    ],
)
def test_module_that_cannot_be_imported_is_named(
    program: Any, target: str, sentence: str
) -> None:
    """A target that cannot be had is one sentence; a wrong declaration names its line."""
    program.write("raises.py", "1 / 0\n")
    program.write(
        "typo.py",
        """\
        from fal_core import function


        @function("current", machine_tipe="GPU")
        def f(): ...
        """,
    )
    done = program("run", target)
    assert done.returncode == 1, done.stderr
    *_, last = done.stderr.splitlines()
    assert last.startswith(f"Error: {sentence}")
    assert ("Traceback" in done.stderr) == ("could not be imported" in sentence)


def test_only_function_needs_no_name(program: Any) -> None:
    """The only isolated function that a file defines needs no name."""
    program.write(
        "single.py",
        """
        from fal_core import function
        from functions import add

        @function("current")
        def answer() -> int:
            return add.run_local(40)
        """,
    )
    assert program("run", "single.py").stdout.endswith("42\n")


def test_file_of_a_package_may_import_relatively(program: Any) -> None:
    """A file in a package is imported as part of the package."""
    program.write("parcel/__init__.py", "")
    program.write("parcel/numbers_.py", "ANSWER = 42\n")
    program.write(
        "parcel/tasks.py",
        """
        from fal_core import function
        from .numbers_ import ANSWER

        @function("current")
        def answer() -> int:
            return ANSWER
        """,
    )
    done = program("run", "parcel/tasks.py::answer")
    assert done.stdout == "42\n", done.stderr


def test_wrong_arguments_are_usage_errors(program: Any) -> None:
    """Arguments that do not fit the function are an error with exit code 2, and nothing is run."""
    for arguments in (["x"], ["1", "--input", "{}"]):
        done = program("run", "functions.py::add", *arguments)
        assert done.returncode == 2, arguments
        assert "Error: " in done.stderr
        assert "adding" not in done.stdout


def test_option_that_is_mistyped_is_no_argument_alone(program: Any) -> None:
    """What is no argument of the function may have been meant for the command."""
    done = program("run", "functions.py::add", "1", "--enforc")
    assert "no argument 'enforc'. Its named arguments: a, b. Did you mean the option" in (
        done.stderr
    )
    done = program("run", "functions.py::add", "--input", '{"enforc": 1}')
    assert "Its named arguments: a, b.\n" in done.stderr


def test_builder_is_heard_off_terminals(program: Any) -> None:
    """Without a terminal, lines of the builder go to the standard error unchanged."""
    program.install("slow", SLOW_KIND)
    program.write("slowly.py", SLOW_FUNCTION)
    program.variables["SEEN"] = str(program.write("seen", ""))
    done = program("run", "slowly.py")
    assert done.stdout == "asking\n42\n"
    assert done.stderr == "fetching the parts\n"


@pytest.mark.parametrize("colourless", [False, True])
def test_spinner_on_terminals(program: Any, colourless: bool) -> None:
    """
    On a terminal a line shows that the environment is built; at the end it says how long that
    took.

    ``NO_COLOR`` leaves the line, and takes the colour from it.
    """
    program.install("slow", SLOW_KIND)
    program.write("slowly.py", SLOW_FUNCTION)
    program.variables["TERM"] = "xterm"
    seen = program.folder / "seen"
    program.variables["SEEN"] = str(seen)
    if colourless:
        program.variables["NO_COLOR"] = "1"
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [*program.argv, "run", "slowly.py"],
        cwd=program.folder,
        env=program.variables,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    ) as process:
        os.close(theirs)
        shown = read_until(ours, "fetching the parts")
        seen.touch()
        shown += read_all(ours)
        assert process.communicate(timeout=60)[0] == "asking\n42\n"
    assert "Building the environment" in shown
    assert "fetching the parts" in shown
    assert re.search(r"\r\033\[KBuilt the environment in [0-9]+(\.[0-9])? s\.\r\n$", shown)
    assert ("\033[36m" in shown) != colourless


def read_until(descriptor: int, words: str) -> str:
    """Return the output to a terminal up to *words*."""
    data = b""
    while words.encode() not in data:
        data += os.read(descriptor, 1)
    return data.decode()


def read_all(descriptor: int) -> str:
    """Return the output to a terminal until its other end is closed."""
    data = b""
    while True:
        try:
            part = os.read(descriptor, 4096)
        except OSError:
            break
        if not part:
            break
        data += part
    os.close(descriptor)
    return data.decode()
