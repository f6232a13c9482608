"""``fal-core hosts check``, and the conformance of projects that were just created."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fal_testing.harness.processes import wait_until

GROUPS = pytest.importorskip("fal_testing.suite").GROUPS

#: Seconds that all laws of a host may take.
PATIENCE = 300


SWALLOWS = """
from typing import Any, ClassVar

import attrs
from fal_core import hookimpl
from fal_core.events import Log
from fal_host_local import LocalHost

fal_core_api = 1


@attrs.define(eq=False, slots=False)
class Silent(LocalHost):
    \"\"\"
    A host that loses what functions print.
    \"\"\"

    name: ClassVar[str] = "silent"
    capabilities = attrs.evolve(
        LocalHost.capabilities,
        secrets=False,
        options=LocalHost.capabilities.options - {"secrets"},
    )

    def launch(self, call: Any, sink: Any) -> Any:
        def tell(event: Any) -> None:
            if not isinstance(event, Log):
                sink(event)

        return super().launch(call, tell)


@hookimpl
def fal_register_hosts():
    return [Silent]
"""


DEAD = """
from typing import Any, ClassVar

import attrs
from fal_core import hookimpl
from fal_core.errors import HostError
from fal_host_local import LocalHost

fal_core_api = 1


@attrs.define(eq=False, slots=False)
class Dead(LocalHost):
    \"\"\"
    A host that runs nothing.
    \"\"\"

    name: ClassVar[str] = "dead"

    def launch(self, call: Any, sink: Any) -> Any:
        raise HostError("the machine is off")


@hookimpl
def fal_register_hosts():
    return [Dead]
"""


HANGS = DEAD.replace(
    '        raise HostError("the machine is off")\n',
    """\
        from pathlib import Path
        from threading import Event

        Path("launched").touch()
        Event().wait()
""",
)


def promises(output: str) -> list[list[str]]:
    """Return the rows of the table of promises: state, group, and promise or reason."""
    _, _, table = output.partition("STATE")
    heading, *lines = f"STATE{table}".splitlines()
    starts = [heading.index(name) for name in ("STATE", "GROUP", "PROMISE")]
    ends = [*starts[1:], None]
    rows = itertools.takewhile(bool, lines)
    return [[row[a:b].strip() for a, b in zip(starts, ends, strict=True)] for row in rows]


def test_host_that_keeps_the_laws_passes(command_line: Any) -> None:
    """The laws are run against the host, each promise is listed as kept, and the exit code is 0."""
    done = command_line("hosts", "check", "local", "-k", "standard or as_itself", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    told = "The caller sees the exception the function raised, not a wrapper."
    assert ["kept", "errors", told] in promises(done.stdout)
    assert {state for state, *_ in promises(done.stdout)} == {"kept"}
    assert re.search(r"^Promises: \d+ kept, 0 broken\.$", done.stdout, re.MULTILINE)


def test_host_that_breaks_a_law_fails(command_line: Any) -> None:
    """
    The exit code is 1 where a law is broken; the table says what was expected and found, which
    promises are kept nevertheless, and which are not claimed for want of a capability.
    """
    command_line.install("silent", SWALLOWS)
    wanted = "test_errors_are_printed_as_such or comes_back or secret_that_is_not_set"
    done = command_line("hosts", "check", "silent", "-k", wanted, "-q")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED" in done.stdout
    kept, broken, how, unclaimed, missing = promises(done.stdout)
    assert kept == ["kept", "call", "The caller gets what the function returned."]
    told = "Lines printed to standard error have the level `STDERR`."
    assert broken == ["broken", "logs", told]
    assert how[:2] == ["", ""]
    assert how[2].startswith("test_errors_are_printed_as_such: ")
    assert "expected ['plain'], found []" in how[2]
    assert unclaimed[:2] == ["not claimed", "secrets"]
    assert missing == ["", "", "It needs secrets."]
    assert "Promises: 1 kept, 1 broken, 1 not claimed." in done.stdout.splitlines()


def test_ctrl_c_ends_a_check(command_line: Any) -> None:
    """After Ctrl-C the law that ran is not awaited, and the exit code is 130."""
    command_line.install("dead", HANGS)
    check = subprocess.Popen(
        [*command_line.argv, "hosts", "check", "dead", "-k", "comes_back", "-q"],
        cwd=command_line.folder,
        env=command_line.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with check:
        launched = command_line.folder / "launched"
        assert wait_until(lambda: launched.exists() or check.poll() is not None, PATIENCE)
        check.send_signal(signal.SIGINT)
        output, complaints = check.communicate(timeout=PATIENCE)
    assert check.returncode == 130, output + complaints
    assert "KeyboardInterrupt" in output


def test_host_that_is_broken_throughout_is_not_checked_to_the_end(command_line: Any) -> None:
    """
    Where no law of the first group is kept the others are not run, and the last sentence says
    how to go on. What is broken is printed before the tests have ended.
    """
    command_line.install("dead", DEAD)
    done = command_line("hosts", "check", "dead", "-q", "--no-header", "--tb=no")
    assert done.returncode == 1, done.stdout + done.stderr
    assert {group for state, group, _ in promises(done.stdout) if state} == {"call"}
    assert "kept" not in {state for state, *_ in promises(done.stdout)}
    while_it_runs, _, _ = done.stdout.partition("STATE")
    told = "test_a_result_comes_back: HostError was raised where none was expected: the machine"
    assert told in while_it_runs
    *_, last = done.stdout.splitlines()
    assert last.startswith("No law of the group 'call' is kept")
    assert "--keep-going" in last


def test_host_that_is_broken_throughout_is_checked_to_the_end_on_request(
    command_line: Any,
) -> None:
    """With ``--keep-going`` further groups are run, and so are all laws that are chosen."""
    command_line.install("dead", DEAD)
    later = "test_lines_arrive_before_the_result"
    chosen = ("-k", f"test_a_result_comes_back or {later}", "-q", "--tb=no")
    done = command_line("hosts", "check", "dead", *chosen)
    assert f"{later}: " in done.stdout
    assert "No law of the group" not in done.stdout
    more = 1 + len([name for name in vars(GROUPS["call"]) if name.startswith("test_")])
    further = ("--keep-going", f"--maxfail={more}", "-q", "--tb=no")
    done = command_line("hosts", "check", "dead", *further)
    assert done.returncode == 1
    assert {group for state, group, _ in promises(done.stdout) if state} > {"call"}


LOSES = """
import os
import signal

import pytest


@pytest.fixture
def lose_place():
    def lose(pid: int, hostname: str) -> None:
        os.killpg(os.getpgid(pid), signal.SIGKILL)

    return lose
"""


def test_laws_that_were_not_checked_are_told_last(command_line: Any) -> None:
    """
    A law that only the tests of a host can check is named in the last line; with ``--strict``
    the exit code is its own. A plugin of pytest gives what it needs.
    """
    law = "test_a_call_whose_place_is_lost_ends"
    chosen = ("hosts", "check", "local", "-k", f"{law} or comes_back", "-q")
    done = command_line(*chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    counts, last = done.stdout.splitlines()[-2:]
    assert counts == "Promises: 1 kept, 0 broken, 1 not checked."
    assert last.startswith("Warning: 1 law was not checked, ")
    assert last.endswith(f": {law}.")
    done = command_line(*chosen, "--strict")
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout.count("Warning: 1 law") == 1

    command_line.write("losing.py", LOSES)
    done = command_line(*chosen, "--strict", "-p", "losing")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "Promises: 2 kept, 0 broken."


def test_strict_check_of_a_broken_host(command_line: Any) -> None:
    """A law that is broken counts for more than one that was not checked."""
    command_line.install("dead", DEAD)
    laws = "test_a_call_whose_place_is_lost_ends or test_lines_arrive_before_the_result"
    done = command_line("hosts", "check", "dead", "--strict", "-k", laws, "-q", "--tb=no")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("Warning: 1 law was not checked, ")


def test_host_is_checked_by_its_url(command_line: Any) -> None:
    """A URL names the host as well as a name does, and what follows are arguments of pytest."""
    done = command_line("hosts", "check", "local://", "-k", "comes_back", "--tb=line", "-rA")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED" in done.stdout
    assert "Promises: 1 kept, 0 broken." in done.stdout.splitlines()


def test_no_law_is_an_error(command_line: Any) -> None:
    """Selecting no law at all is an error."""
    done = command_line("hosts", "check", "local", "-k", "no_such_law", "-q")
    assert done.returncode == 1
    assert "Error: No law was chosen" in done.stderr


def test_host_project_keeps_every_law(command_line: Any, tmp_path: Path) -> None:
    """The project of a host passes its own conformance tests as it was created, once installed."""
    assert command_line("plugins", "new", "deep-blue").returncode == 0
    project = tmp_path / "fal-host-deep-blue"
    # As an editable installation leaves it.
    facts = "fal-host-deep-blue/src/fal_host_deep_blue-0.1.0.dist-info"
    named = "Metadata-Version: 2.1\nName: fal-host-deep-blue\nVersion: 0.1.0\n"
    command_line.write(f"{facts}/METADATA", named)
    entry = "[fal_core]\ndeep-blue = fal_host_deep_blue\n"
    command_line.write(f"{facts}/entry_points.txt", entry)
    command_line.variables["PYTHONPATH"] = str(project / "src")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/test_conformance.py"],
        cwd=project,
        env=command_line.variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "place_is_lost" not in done.stdout
