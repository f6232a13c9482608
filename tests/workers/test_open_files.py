"""Open files: a limit that a process raises for itself alone."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from fal_core.workers.open_files import given_to_children, most_open_files, raise_open_files

if sys.platform == "win32":
    pytest.skip("This system has no such limit.", allow_module_level=True)


def run_limited(source: str, *, soft: int = 200, hard: int = 300) -> Any:
    """Run *source* in a process with these limits, and return what it prints, as JSON."""
    command = f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"'
    done = subprocess.run(
        ["/bin/sh", "-c", command, "sh", sys.executable, "-c", textwrap.dedent(source)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(("most", "found"), [(250, 250), (400, 300), (100, 200)])
def test_limit_is_raised_as_far_as_it_may(most: int, found: int):
    """
    A process gets as many open files as it asks for, at most what the system allows, and
    never fewer. What it starts has the limit that it was given.
    """
    source = f"""
        import json, resource, subprocess
        from fal_core.workers.open_files import *

        raise_open_files({most})
        told = 'ulimit -Sn; ulimit -Hn; echo "$@"'
        argv = given_to_children(["/bin/sh", "-c", told, "sh", "a b"])
        child = subprocess.check_output(argv, text=True).splitlines()
        own = resource.getrlimit(resource.RLIMIT_NOFILE)
        print(json.dumps([own, most_open_files(), child]))
    """
    assert run_limited(source) == [[found, 300], found, ["200", "300", "a b"]]


def test_command_stays_as_it_is():
    """A process that has raised no limit changes no command."""
    raise_open_files(1)
    assert given_to_children(("a", "b")) == ["a", "b"]
    most = most_open_files()
    assert most is None or most > 1
