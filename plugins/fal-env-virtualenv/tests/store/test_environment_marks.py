"""
The marks inside an environment: that it is complete, and that it is in use.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.store import environment_marks
from fal_env_virtualenv.store.build_records import read_record
from fal_env_virtualenv.store.listing import find_stored

if TYPE_CHECKING:
    from conftest import Builder


@pytest.mark.faults
def test_child_of_a_fork_leaves_the_locks_to_its_parent(build: Builder) -> None:
    """
    A forked child does not hold the locks of its parent.
    """
    environment = Virtualenv(requirements=["gamma"])
    path = os.path.dirname(os.path.dirname(build(environment).executable))
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        environment_marks.release(path)
        assert not find_stored(environment.key).in_use
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_environment_is_complete_once_it_is_marked(build: Builder) -> None:
    """
    A fault is found until the mark is written, and if it is that of another environment.
    """
    environment = Virtualenv(requirements=["gamma"])
    build(environment)
    record = read_record(environment.key)
    assert record is not None
    assert environment_marks.find_fault(record) is None
    os.unlink(os.path.join(record.path, environment_marks.COMPLETE))
    assert environment_marks.find_fault(record) == "its build never finished"
    environment_marks.mark_complete(record.path, "another")
    assert environment_marks.find_fault(record) == "its marker names another environment"
    environment_marks.mark_complete(record.path, record.digest)
    assert environment_marks.find_fault(record) is None


def test_environment_is_in_use_while_a_process_has_taken_it(build: Builder) -> None:
    """
    An environment is taken by a build that finds it, and until it is released.
    """
    environment = Virtualenv(requirements=["gamma"])
    path = os.path.dirname(os.path.dirname(build(environment).executable))
    assert environment_marks.is_in_use(path, [])
    environment_marks.release(path)
    assert not environment_marks.is_in_use(path, [])
    assert environment_marks.is_in_use(path, [os.fsencode(path) + b"/bin/python\0-c\0pass"])
