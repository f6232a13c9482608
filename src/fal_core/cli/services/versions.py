"""
Versions of a program that is started again whenever its files change.

Each version is a fork of a parent that has imported our modules and runs no code of the
user: nothing of an old version is left in a new one, and a new one need not wait for
Python to start and import.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from types import FrameType

import click

#: The signals that interrupt a program. The terminal sends SIGINT to all processes, as a
#: service manager may send SIGTERM, and each interrupt must count once.
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
#: The signal by which a version's main thread gets an interrupt.
_PASSED_ON = signal.SIGUSR1
_SIGNALS = {*_INTERRUPTS, _PASSED_ON}
#: Messages: a version asks for the next one; the parent passes on an interrupt.
_NEXT, _INTERRUPT = b"\n", b"!"
#: Seconds after which the signal is repeated to a main thread that has not handled it.
_AGAIN = 0.1


class Version:
    """The process of one version, seen from inside it."""

    def __init__(self, parent: socket.socket) -> None:
        self._parent = parent
        self._told = self._heard = 0
        for number in _INTERRUPTS:
            signal.signal(number, _ignore)
        signal.signal(_PASSED_ON, self._hear)
        threading.Thread(target=self._listen, name="fal-core version", daemon=True).start()

    def serves(self, local: Collection[str]) -> None:
        """Tell the parent which modules to import for the next version, except files in *local*."""
        ours = [each.module for each in entry_points(group="fal_core")]
        packages = {name.partition(".")[0] for name in ("fal_core_worker", *ours)}
        names = [
            name
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] in packages
            and getattr(module, "__file__", None) not in local
        ]
        self._parent.sendall(json.dumps(names).encode() + b"\0")

    def end(self) -> None:
        """End this process, and have the parent start the next version."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._parent.sendall(_NEXT)
        os._exit(0)

    def _listen(self) -> None:
        """
        Exit when the parent does, and repeat each interrupt until it is handled.

        A signal that comes just before a thread waits is handled only after the wait, and
        this one comes just after another.
        """
        main = threading.main_thread().ident
        assert main is not None
        while True:
            patience = _AGAIN if self._heard < self._told else None
            if select.select([self._parent], [], [], patience)[0]:
                if not self._receive():
                    os._exit(1)
                self._told += 1
            if self._heard < self._told:
                signal.pthread_kill(main, _PASSED_ON)

    def _receive(self) -> bytes:
        try:
            return self._parent.recv(1)
        except OSError:
            # The parent has exited with data of this process unread.
            return b""

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._heard < self._told:
            self._heard += 1
            raise KeyboardInterrupt


class Versions:
    """Runs one version after the other."""

    def __init__(self) -> None:
        self._pid = 0
        self._version: socket.socket | None = None
        self._interrupted = False

    def run(self, run: Callable[[Version], None]) -> None:
        """
        Call *run* in a process for each version; it returns, or raises, in that process.

        Raises:
            Exit: The last version has ended; raised in the parent, with its exit code.
        """
        before = {number: signal.signal(number, self._pass_on) for number in _INTERRUPTS}
        try:
            while True:
                ours, theirs = socket.socketpair()
                self._version = ours
                if not self._fork():
                    ours.close()
                    version = Version(theirs)
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
                    run(version)
                    return
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
                theirs.close()
                with ours:
                    goes_on = _follow(ours)
                _, status = os.waitpid(self._pid, 0)
                if self._interrupted or not goes_on:
                    code = os.waitstatus_to_exitcode(status)
                    raise click.exceptions.Exit(code if code >= 0 else 128 - code)
        finally:
            if self._pid:
                for number, handler in before.items():
                    signal.signal(number, handler or signal.SIG_DFL)

    def _fork(self) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        return self._pid

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = True
        # The version may have ended, or not have started yet.
        with suppress(OSError):
            if self._version is not None:
                self._version.send(_INTERRUPT)


def _follow(version: socket.socket) -> bool:
    """Import the modules that *version* names, and return whether it asks for a next one."""
    told = b""
    while not told.endswith(_NEXT):
        part = version.recv(1 << 16)
        if not part:
            return False
        told += part
        names, end, rest = told.partition(b"\0")
        if end:
            told = rest
            _import(json.loads(names))
    return True


def _import(names: Iterable[str]) -> None:
    for name in names:
        # A module that cannot be imported alone is imported where it is needed.
        with suppress(Exception):
            import_module(name)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Ignore an interrupt, which the parent passes on. Programs do not inherit a handler."""
