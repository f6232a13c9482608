"""Identities of processes: a number that was given again names another process."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest

from fal_core import function
from fal_testing import InProcessHost
from fal_testing.harness.identities import make_identify, make_living, number_of, still_living

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

isolated = partial(function, "current", host=InProcessHost())


def test_processes_live_until_they_end() -> None:
    """A process that runs lives, one that has ended does not, and neither is hidden."""
    program = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    named = make_identify()(program.pid)
    assert number_of(named) == program.pid
    assert still_living(isolated, [named], 0) == [program.pid]
    program.communicate()
    assert make_living()([named]) == ([], [])
    assert still_living(isolated, [named], 0) == []


def test_number_that_was_given_again_names_another_process() -> None:
    """A process of the same number that started at another time is not the one that was named."""
    pid, started, namespace = make_identify()().split()
    assert int(pid) == os.getpid()
    assert make_living()([f"{pid} {int(started) - 1} {namespace}"]) == ([], [])


def test_process_of_another_namespace_is_hidden() -> None:
    """Whether a process of another namespace lives cannot be told, and the law is skipped."""
    pid, started, _ = make_identify()().split()
    elsewhere = f"{pid} {started} pid:[1]"
    assert make_living()([elsewhere]) == ([], [elsewhere])
    with pytest.raises(pytest.skip.Exception, match="a pid namespace hides them"):
        still_living(isolated, [elsewhere], 0)
    with pytest.raises(pytest.skip.Exception, match="on another machine"):
        still_living(isolated, [], 0)
