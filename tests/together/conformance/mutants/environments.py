"""Hosts that break the laws of environments and their interpreters."""

from __future__ import annotations

import os
import subprocess
from typing import ClassVar

import attrs

from fal_core.calls import Call
from fal_core.events import Sink
from fal_core.hosts import Capabilities, Execution
from fal_core.pools import Start
from fal_core.workers import ARGUMENTS, Worker
from fal_testing import ProcessHost


class DropsVariables(ProcessHost):
    """Starts the program of an interpreter without the variables that belong to it."""

    def begin(self, start: Start) -> Worker:
        command = start.build().command(ARGUMENTS)
        return Worker.start(attrs.evolve(command, variables={}))


class MergesOutputs(ProcessHost):
    """Starts a process whose standard error is its standard output."""

    def begin(self, start: Start) -> Worker:
        command = start.build().command(ARGUMENTS)
        process = subprocess.Popen(
            command.argv,
            env={**os.environ, **command.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return Worker.of(process, command=command)


class DropsStopCommand(ProcessHost):
    """Kills what has to be ended by another command."""

    def begin(self, start: Start) -> Worker:
        command = start.build().command(ARGUMENTS)
        return Worker.start(attrs.evolve(command, stop_argv=None))


class KeepsLeftovers(ProcessHost):
    """Ends nothing of a program that has failed by itself."""

    def begin(self, start: Start) -> Worker:
        command = start.build().command(ARGUMENTS)
        worker = Worker.start(attrs.evolve(command, stop_argv=None))
        stop = command.stop_argv
        if stop is None:
            return worker
        kill = worker.kill

        def stop_and_kill() -> None:
            subprocess.run(stop, check=False)
            kill()

        worker.kill = stop_and_kill  # type: ignore[method-assign]  # the fault
        return worker


class DropsExplanation(ProcessHost):
    """Does not ask an interpreter why its process has ended."""

    def begin(self, start: Start) -> Worker:
        command = start.build().command(ARGUMENTS)
        return Worker.start(attrs.evolve(command, explain=None))


class GivesOneName(ProcessHost):
    """Gives all processes the same name."""

    def begin(self, start: Start) -> Worker:
        return Worker.start(start.build().command(ARGUMENTS, name="worker"))


class TellsNoPorts(ProcessHost):
    """Serves functions in networks of their own, to which no port leads."""

    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(kinds=None, serve=True)

    def launch_apart(self, call: Call, sink: Sink) -> Execution:
        return self._find_pools().launch_service(call, sink)
