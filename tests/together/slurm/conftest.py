"""A real Slurm of two nodes on this machine, with GPUs that are none and limits of memory."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import attrs
import pytest

from fal_core_worker.serving.ports import free_port
from fal_testing.harness.processes import wait_until

ROOT = Path(__file__).resolve().parents[3]
#: Where Debian has the daemons.
DAEMONS = "/usr/sbin:/usr/local/sbin:/usr/bin"
#: Seconds that a client of Slurm may take.
PATIENCE = 60

#: Nodes have more processors than this machine, since the functions of tests mostly wait.
#: A node that has failed is used again once it registers.
CONFIGURATION = """
ClusterName=tests
SlurmctldHost={machine}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/slurmctld
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerNode=200
GresTypes=gpu
ProctrackType=proctrack/{processes}
TaskPlugin=task/{tasks}
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0
KillWait=2
NodeName=DEFAULT CPUs=64 RealMemory=16000 Gres=gpu:h100:2
"""
PARTITIONS = """
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP
PartitionName=second Nodes={second} MaxTime=60 State=UP
"""
#: The files have to be devices; nothing is done with them.
GPUS = """
AutoDetect=off
Name=gpu Type=h100 File=/dev/null
Name=gpu Type=h100 File=/dev/zero
"""
LIMITS = """
CgroupPlugin=cgroup/v1
ConstrainRAMSpace=yes
"""
CGROUPS = Path("/sys/fs/cgroup")


@attrs.define(kw_only=True)
class Cluster:
    """
    A running Slurm.

    Attributes:
        folder: Its configuration and its state.

        nodes: The names of its two nodes.

        limits_memory: Whether a job that uses more memory than it asked for is killed.
    """

    folder: Path
    nodes: tuple[str, str]
    limits_memory: bool
    _processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list, init=False)

    def ask(self, *command: str) -> str:
        """Run a client of Slurm, and return what it prints."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stderr}"
        return done.stdout.strip()

    def jobs(self, form: str = "%A %T") -> list[str]:
        """Return a line for each job that is pending or running."""
        return self.ask("squeue", "--noheader", f"--format={form}").splitlines()

    def fail(self, node: str) -> None:
        """Have *node* fail, with the jobs on it. It comes back by itself."""
        self.ask("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def is_up(self) -> bool:
        """Tell whether both nodes are there."""
        states = self.ask("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T")
        return set(states.split()) <= {"idle", "mixed", "allocated", "completing"}

    def clients(self) -> list[int]:
        """
        Return the processes of ``srun``, which have queued jobs of this cluster.

        One that is told to end waits until its cluster has confirmed that: for ever, if the
        cluster has ended before.
        """
        mark = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            # Others end meanwhile.
            with contextlib.suppress(OSError):
                variables = (process / "environ").read_bytes().split(b"\0")
                if mark in variables and (process / "comm").read_text() == "srun\n":
                    found.append(int(process.name))
        return found

    def begin(self, *command: str, until: Callable[[], bool]) -> None:
        """Start a daemon, and return once it is up."""
        log = self.folder / f"{Path(command[0]).name}-{len(self._processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._processes.append(process)
        up = wait_until(lambda: process.poll() is not None or until(), PATIENCE)
        if not up or process.poll() is not None:
            pytest.fail(f"{command} is not up:\n{log.read_text()}")

    def end(self) -> None:
        """
        End the jobs and their clients, the daemons in reverse order, and the groups of the
        jobs' processes.
        """
        try:
            if len(self._processes) > 2:
                for job in self.jobs("%A"):
                    subprocess.run(["scancel", job], timeout=PATIENCE, capture_output=True)
                assert wait_until(lambda: not self.jobs(), PATIENCE)
        finally:
            # A client may have missed that its job has ended, and would wait for ever.
            for client in self.clients():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(client, signal.SIGKILL)
            for process in reversed(self._processes):
                process.terminate()
                process.wait()
            for node in self.nodes:
                for group in CGROUPS.glob(f"*/slurm_{node}"):
                    for folder, _, _ in os.walk(group, topdown=False):
                        os.rmdir(folder)


def answers(path: Path) -> bool:
    """Tell whether something listens at the Unix socket *path*."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def succeeds(command: Sequence[str]) -> bool:
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
    return done.returncode == 0


def missing_parts() -> str:
    """Return why no Slurm can be started here; empty if one can."""
    programs = {"slurmctld", "slurmd", "munged", "srun", "squeue", "scancel"}
    missing = sorted(each for each in programs if shutil.which(each, path=DAEMONS) is None)
    if missing:
        return f"{', '.join(missing)}: not installed (Debian: slurm-wlm, munge)"
    if os.geteuid() != 0:
        return "the daemons of Slurm, which start jobs of any user, run as root"
    return ""


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of its own for these tests; its clients find it by ``SLURM_CONF``."""
    problem = missing_parts()
    if problem:
        pytest.skip(f"There is no Slurm to test with: {problem}.")
    folder = tmp_path_factory.mktemp("slurm")
    ports = [free_port() for _ in range(3)]
    # The groups of the jobs' processes are named by their nodes, for the whole machine.
    nodes = (f"node{ports[1]}", f"node{ports[2]}")
    limits_memory = os.access(CGROUPS / "memory", os.W_OK)
    cluster = Cluster(folder=folder, nodes=nodes, limits_memory=limits_memory)
    machine = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(
        folder=folder,
        machine=machine,
        port=ports[0],
        processes="cgroup" if limits_memory else "linuxproc",
        tasks="cgroup" if limits_memory else "none",
    )
    for node, port in zip(nodes, ports[1:], strict=True):
        (folder / node).mkdir()
        text += f"NodeName={node} NodeHostname={machine} NodeAddr=127.0.0.1 Port={port}\n"
    (folder / "slurmctld").mkdir()
    (folder / "slurm.conf").write_text(text + PARTITIONS.format(second=nodes[1]))
    (folder / "gres.conf").write_text(GPUS)
    (folder / "cgroup.conf").write_text(LIMITS if limits_memory else "CgroupPlugin=disabled\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(256))
    key.chmod(0o400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PATH", f"{os.environ['PATH']}:{DAEMONS}")
        try:
            cluster.begin(
                "munged",
                # Also where others may look into its directory.
                *("--foreground", "--force", f"--key-file={key}", "--num-threads=2"),
                *(f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid"),
                *(f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"),
                until=lambda: answers(folder / "munge.socket"),
            )
            cluster.begin("slurmctld", "-D", until=lambda: succeeds(["scontrol", "ping"]))
            for node in nodes:
                cluster.begin("slurmd", "-D", "-N", node, until=lambda: True)
            assert wait_until(cluster.is_up, PATIENCE), cluster.ask("scontrol", "show", "node")
            yield cluster
        finally:
            cluster.end()


@pytest.fixture(scope="session")
def slurm_example() -> ModuleType:
    """The module ``examples/slurm_host.py``."""
    spec = importlib.util.spec_from_file_location("slurm_host", ROOT / "examples/slurm_host.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
