"""The plugin of pytest for those who use fal-core."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core import function
from fal_testing.plugin import in_process, in_process_host

__all__ = ["in_process", "in_process_host"]


@function("virtualenv", requirements=["not-to-be-installed"], machine_type="M", keep_alive=3)
def find_process(*, fails: bool = False) -> int:
    if fails:
        raise LookupError("asked to")
    return os.getpid()


@function("current")
def count(up_to: int):
    yield from range(up_to)


def test_functions_of_any_kind_run_in_this_process(in_process: Any) -> None:
    """A function runs in the process of the test, without what its environment would have."""
    assert in_process(find_process)() == os.getpid()
    assert list(in_process(count)(3)) == [0, 1, 2]
    assert find_process.options.environment["requirements"] == ["not-to-be-installed"]


def test_errors_and_maps_are_those_of_any_host(in_process: Any) -> None:
    """The function is called through a host: what it raises and maps is as everywhere."""
    here = in_process(find_process)
    with pytest.raises(LookupError, match="asked to"):
        here(fails=True)
    assert here.submit().result(timeout=60) == os.getpid()


def test_functions_of_a_module_are_replaced_until_the_test_ends() -> None:
    """Given a module, all its isolated functions run in this process, and later as before."""
    module = ModuleType("module")
    declared: Any = module
    declared.find_process, declared.other = find_process, os.getpid
    from fal_testing.plugin import InProcess, InThisProcessHost

    with pytest.MonkeyPatch.context() as patched:
        assert InProcess(InThisProcessHost(), patched.setattr)(module) is module
        assert declared.find_process is not find_process
        assert declared.find_process() == os.getpid()
        assert declared.other is os.getpid
    assert declared.find_process is find_process


def test_something_else_is_refused(in_process: Any) -> None:
    """A function that is not isolated is an error that says what is."""
    with pytest.raises(TypeError, match="takes an isolated function or a module"):
        in_process(os.getpid)


TESTS = """
    import os

    import pytest
    from fal_core import function
    from fal_testing import ProcessHost

    @function("current", host=ProcessHost())
    def find_process():
        return os.getpid()

    def test_here(in_process):
        assert in_process(find_process)() == os.getpid()

    @pytest.mark.real_environment
    def test_there(in_process):
        assert in_process(find_process) is find_process
        assert find_process() != os.getpid()
"""


def test_marker_runs_functions_where_they_are_declared_to(tmp_path: Path) -> None:
    """With the marker, which is registered, a function runs on its own host."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["fal_testing.plugin"]\n')
    (tmp_path / "test_both.py").write_text(textwrap.dedent(TESTS), "utf-8")
    run = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*run, "-W", "error", "test_both.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
