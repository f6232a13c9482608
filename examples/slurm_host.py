"""
A host that runs calls as jobs of a Slurm cluster.

It runs where ``srun`` does, as on a login node, whose files the nodes see at the same paths.
A job is a warm worker: ``srun`` carries its stream, and takes the job along when it ends.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import attrs

from fal_core.environments import Environment
from fal_core.errors import Cancelled, HostClosed, HostError, OutOfMemory, WorkerLost
from fal_core.events import State
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities, Host
from fal_core.machines import resolve_machine
from fal_core.options import Gateway, HostOptions
from fal_core.pools import POOL_OPTIONS, Start, WorkerHost, relay
from fal_core.validators import at_least
from fal_core.workers import ARGUMENTS, Worker

#: The reasons for which Slurm ends a job, and what to tell of them.
REASONS = {
    "TimeLimit": "Its job has reached its time limit: give it more with time_limit=.",
    "NodeDown": "The node of its job has failed.",
}


@attrs.frozen(kw_only=True)
class SlurmOptions(HostOptions):
    """
    What a job asks for beside its machine.

    Attributes:
        partition: The partition that it queues for; the cluster's own default without one.

        time_limit: Minutes after which Slurm ends the job.
    """

    partition: str | None = None
    time_limit: int | None = attrs.field(default=None, validator=at_least(1))


@attrs.define(eq=False, slots=False)
class SlurmHost(WorkerHost[..., Any]):
    """
    A Slurm cluster: each worker is a job.

    Attributes:
        arguments: What else ``srun`` is given, as in ``("--account=mine",)``.
    """

    name: ClassVar[str] = "slurm"
    options: ClassVar[type[HostOptions]] = SlurmOptions
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None,
        options=POOL_OPTIONS | {"machine_type", "num_gpus"},
        concurrency=8,
        keep_alive=True,
        multiplex=True,
        serve=True,
        inherits=True,
    )

    arguments: tuple[str, ...] = ()

    def check(
        self,
        environment: Environment,
        options: HostOptions,
        gateway: Gateway,
        origin: str | None = None,
    ) -> None:
        """Refuse a machine type that no plugin knows."""
        resources(SlurmOptions.of(options))

    def begin(self, start: Start) -> Worker:
        """Queue a job, and return its worker once it runs."""
        python = start.build().command(ARGUMENTS)
        name = f"fal-core-{uuid.uuid4().hex}"
        argv = srun(f"--job-name={name}", *self.arguments, *resources(SlurmOptions.of(start)))
        worker = Worker.start(
            attrs.evolve(python, argv=(*argv, *python.argv)),
            explain=lambda code, said: self._explain(name, code, said),
        )
        worker.reference = name
        state, told, pause = "", "", 0.05
        while state != "RUNNING" and not worker.gone:
            if start.cancelled.wait(pause):
                worker.kill()
                raise Cancelled
            pause = min(pause * 1.5, 10)
            job, state, reason = show(name)
            if state == "PENDING" and reason != told:
                start.report(State("queued"))
                start.say(f"Slurm job {job} waits: {reason}.")
                told = reason
        if told:
            start.report(State("starting"))
        return worker

    def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
        """Relay connections to the loopback address of the node, through steps of the job."""
        job = show(worker.reference)[0]
        step = srun(f"--jobid={job}", "--overlap", "--quiet", sys.executable)
        return relay(worker, urls, lambda arguments: (*step, *arguments))

    def _explain(self, name: str, code: int, said: str) -> HostError | None:
        job, _, reason = show(name)
        if not job:
            return HostClosed(self.name, said)
        if reason == "OutOfMemory":
            return OutOfMemory(code, None, "Ask for more with machine_type=.")
        return WorkerLost(code, None, REASONS[reason]) if reason in REASONS else None


def srun(*arguments: str) -> list[str]:
    """
    Return a command that runs ``srun`` and carries the streams of one process.

    It ends with this program, also if its job is queued. In a job it would take the resources
    of that job, and its variables for options.
    """
    job = [name for name in os.environ if name.startswith("SLURM_") and name != "SLURM_CONF"]
    unset = [f"--unset={name}" for name in job if "SLURM_JOB_ID" in os.environ]
    ends = ("setpriv", "--pdeathsig", "TERM")
    return [*ends, "env", *unset, "srun", "--ntasks=1", "--unbuffered", *arguments]


def resources(given: SlurmOptions) -> list[str]:
    """Return the arguments of ``srun`` for what a job of *given* needs."""
    need = {"partition": given.partition, "time": given.time_limit, "gpus": given.num_gpus}
    if given.machine_names:
        machine = resolve_machine(given.machine_names[0])
        gpus = machine.gpus if given.num_gpus is None else given.num_gpus
        # Slurm names the models of NVIDIA so too.
        model = (machine.gpu_model or "").lower().replace(" ", "_")
        need["gpus"] = f"{model}:{gpus}" if model and gpus else gpus
        need["cpus-per-task"] = math.ceil(machine.cpus or 0)
        need["mem"] = (machine.memory or 0) >> 20
    return [f"--{name}={value}" for name, value in need.items() if value]


def show(name: str) -> list[str]:
    """Return the id, the state and the reason of the job *name*; empty where there is none."""
    ask = ("timeout", "60", "squeue", "--noheader", "--states=all", "--format=%A|%T|%r")
    done = subprocess.run((*ask, f"--name={name}"), capture_output=True, text=True, check=False)
    return done.stdout.strip().split("|") if "|" in done.stdout else ["", "", ""]


fal_core_api = 1


@hookimpl
def fal_register_hosts() -> Iterable[type[Host[..., Any]]]:
    """Register the host ``slurm``."""
    return [SlurmHost]
