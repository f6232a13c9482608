"""
Lock files.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest

from fal_core.errors import Cancelled
from fal_env_virtualenv.store import locks


def test_exclusive_lock_has_one_holder(tmp_path: Path) -> None:
    """
    A lock can be taken again once it has been released.
    """
    path = str(tmp_path / "lock")
    assert not locks.is_locked(path)
    held = locks.try_lock(path, shared=False, create=True)
    assert held is not None
    assert locks.is_locked(path)
    assert locks.try_lock(path, shared=True) is None
    locks.unlock(held)
    assert not locks.is_locked(path)


def test_shared_lock_has_many_holders(tmp_path: Path) -> None:
    """
    A lock that is shared is locked until the last holder releases it.
    """
    path = str(tmp_path / "lock")
    first = locks.try_lock(path, shared=True, create=True)
    second = locks.try_lock(path, shared=True)
    assert first is not None
    assert second is not None
    locks.unlock(first)
    assert locks.is_locked(path)
    locks.unlock(second)
    assert not locks.is_locked(path)


def test_lock_of_a_removed_file_is_none(tmp_path: Path) -> None:
    """
    A lock counts as long as its file is at its path.
    """
    path = tmp_path / "lock"
    held = locks.try_lock(str(path), shared=False, create=True)
    assert held is not None
    assert locks.is_descriptor_of(held, str(path))
    path.unlink()
    assert not locks.is_descriptor_of(held, str(path))
    with pytest.raises(FileNotFoundError):
        locks.try_lock(str(path), shared=False)
    other = locks.try_lock(str(path), shared=False, create=True)
    assert other is not None
    assert not locks.is_descriptor_of(held, str(path))
    locks.unlock(held)
    locks.unlock(other)


def test_least_descriptor(tmp_path: Path) -> None:
    """
    A descriptor is as high as it is asked to be.
    """
    held = locks.try_lock(str(tmp_path / "lock"), shared=False, create=True, least=50)
    assert held is not None
    assert held >= 50
    locks.unlock(held)


def test_children_hold_a_lock_that_was_left_to_them(tmp_path: Path) -> None:
    """
    A lock that is left to a child process is released when the child ends.
    """
    path = str(tmp_path / "lock")
    held = locks.try_lock(path, shared=False, create=True)
    assert held is not None
    command = [sys.executable, "-c", "input()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[held])
    locks.leave_to_children(held)
    try:
        assert locks.is_locked(path)
    finally:
        process.communicate(b"\n", timeout=60)
    assert not locks.is_locked(path)


def test_waiting_for_a_lock_can_be_cancelled(tmp_path: Path) -> None:
    """
    Waiting is announced once, and ends when it is cancelled.
    """
    path = str(tmp_path / "lock")
    cancelled = Event()
    with (
        locks.locked(path, cancelled, pytest.fail),
        pytest.raises(Cancelled),
        locks.locked(path, cancelled, cancelled.set),
    ):
        pytest.fail("the lock has two holders")
    assert not locks.is_locked(path)
