"""Which memory forked processes may read, and whether they live."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from fal_core_worker.stream.forks import Fork, Forks, Loan
from fal_core_worker.stream.forks import forks as forks_of_this_process
from fal_testing.harness.processes import wait_until

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs memfd_create"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@contextmanager
def fork(forks: Forks, then: Callable[[int], object] = lambda kept: None) -> Iterator[None]:
    """
    Fork a process that calls *then* with a file, and lives while the context does.

    The hooks of *forks* are called as Python calls those of a process.
    """
    (told, tell), (wait, keep) = os.pipe(), os.pipe()
    forks.before()
    child = os.fork()
    if not child:
        try:
            forks.after_in_child()
            os.close(keep)
            then(wait)
            os.write(tell, b"1")
            os.read(wait, 1)
        finally:
            os._exit(0)
    forks.after_in_parent()
    os.close(tell)
    os.close(wait)
    try:
        assert os.read(told, 1)
        yield
    finally:
        os.close(told)
        os.close(keep)
        os.waitpid(child, 0)


def lend(forks: Forks) -> Loan:
    loan = Loan()
    forks.begin(loan)
    return loan


def is_inherited(forks: Forks, loan: Loan) -> bool:
    """Tell whether a process lives that may read what *loan* stood for."""
    return loan.is_among(forks.living())


def test_a_forked_process_has_what_was_in_use_until_it_ends():
    """That is what was lent before it was forked, and not given back before either."""
    forks = Forks()
    before, kept = lend(forks), lend(forks)
    forks.end(before)
    with fork(forks):
        after = lend(forks)
        for loan in (kept, after):
            forks.end(loan)
        assert is_inherited(forks, kept)
        assert not is_inherited(forks, before)
        assert not is_inherited(forks, after)
    assert wait_until(lambda: not is_inherited(forks, kept), 30)


def close_but_the_pipes(kept: int) -> None:
    """Close every file that is no pipe."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if "pipe:" not in os.readlink(f"/proc/self/fd/{name}"):
                os.close(int(name))
        except OSError:
            pass  # The folder itself.


def test_a_process_has_it_whatever_it_closes():
    """A process that closes all its files, as a daemon does, still has its memory."""
    forks = Forks()
    loan = lend(forks)
    with fork(forks, close_but_the_pipes):
        forks.end(loan)
        assert is_inherited(forks, loan)
    assert wait_until(lambda: not is_inherited(forks, loan), 30)


def test_a_process_that_a_forked_one_forks_has_it_too():
    """What the child process has inherited, its own child has after it has ended."""
    forks = Forks()
    loan = lend(forks)
    reader, writer = os.pipe()
    (told, tell) = os.pipe()
    forks.before()
    child = os.fork()
    if not child:
        forks.after_in_child()
        os.close(writer)
        forks.before()
        if os.fork():
            os._exit(0)
        forks.after_in_child()
        close_but_the_pipes(reader)
        os.write(tell, b"1")
        os.read(reader, 1)
        os._exit(0)
    forks.after_in_parent()
    os.close(reader)
    forks.end(loan)
    os.waitpid(child, 0)
    assert os.read(told, 1)
    assert is_inherited(forks, loan)
    os.close(writer)
    assert wait_until(lambda: not is_inherited(forks, loan), 30)
    os.close(told)
    os.close(tell)


def test_another_program_has_nothing():
    """A child process that runs another program does not count, be it forked by Python or not."""
    forks = forks_of_this_process
    for options in ({}, {"preexec_fn": os.getpid}):
        loan = lend(forks)
        command = [sys.executable, "-c", "input()"]
        program = subprocess.Popen(command, stdin=subprocess.PIPE, **options)
        forks.end(loan)
        assert wait_until(lambda loan=loan: not is_inherited(forks, loan), 30)
        assert program.poll() is None
        program.communicate(b"\n", timeout=60)


def test_forks_are_followed_only_if_something_is_in_use():
    """A process that forks many others keeps a file open for each that has inherited something."""
    forks = Forks()
    before = len(os.listdir("/proc/self/fd"))

    def opened() -> int:
        return len(os.listdir("/proc/self/fd")) - before

    with fork(forks):
        assert not forks.living()
    loan = lend(forks)
    forks.end(loan)
    with fork(forks):
        assert not forks.living()
        assert opened() == 2  # The pipes.
    forks.begin(loan)
    for _ in range(3):
        with fork(forks):
            assert len(forks.living()) == 1
            assert opened() == 3
    assert wait_until(lambda: not forks.living(), 30)
    assert not opened()


def test_what_is_lent_while_another_thread_forks_counts_as_inherited():
    """Nobody knows whether the system forks before or after."""
    forks = Forks()
    lend(forks)
    forks.before()
    loan = lend(forks)
    forks.end(loan)
    assert is_inherited(forks, loan)
    forks.after_in_parent()
    assert not is_inherited(forks, loan)


def test_a_fork_without_a_mark_counts_as_living(monkeypatch: pytest.MonkeyPatch):
    """Where no file can be opened for a mark, nothing tells when the processes have ended."""
    monkeypatch.delattr(os, "memfd_create")
    forks = Forks()
    loan = lend(forks)
    with fork(forks):
        forks.end(loan)
    assert is_inherited(forks, loan)
    assert Fork(1, marked=True).lives()


def test_a_fork_counts_although_what_came_before_was_interrupted():
    """A signal may end what marks a fork, which happens nevertheless."""
    forks = Forks()
    loan = lend(forks)
    forks.after_in_parent()
    forks.end(loan)
    assert is_inherited(forks, loan)
