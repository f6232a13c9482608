"""The host of the tutorial runs calls as jobs of a real Slurm."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core import errors, function
from fal_core.events import Log, State
from fal_core.hooks import hookimpl
from fal_core.hosts import Host
from fal_core.machines import Machine
from fal_core.plugins import registered
from fal_testing.harness.processes import is_alive, wait_until
from fal_testing.harness.recorders import Recorder

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples/slurm_host.py"
#: Seconds that a test waits for something.
PATIENCE = 60


class Machines:
    """A plugin that knows machine types."""

    fal_core_api = 1
    known = {
        "SMALL": Machine(name="SMALL", memory=100 << 20),
        "H100": Machine(name="H100", cpus=1.5, memory=200 << 20, gpus=2, gpu_model="H100"),
    }

    @hookimpl
    def fal_resolve_machine(self, machine_type: str) -> Machine | None:
        return self.known.get(machine_type)


@pytest.fixture
def host(slurm: Any, slurm_example: ModuleType) -> Iterator[Host[..., Any]]:
    host = slurm_example.SlurmHost()
    # An installed plugin is known by its options.
    with registered(slurm_example), registered(Machines()):
        yield host
    host.close()


@pytest.fixture
def busy(slurm: Any) -> Iterator[contextlib.ExitStack]:
    """Every GPU of the cluster is taken, until the stack is closed."""
    with contextlib.ExitStack() as holders:
        for node in slurm.nodes:
            job = ("srun", "--job-name=holder", "--gpus=2", f"--nodelist={node}")
            holder = subprocess.Popen([*job, "sleep", "600"])
            holders.callback(holder.wait, PATIENCE)
            holders.callback(holder.terminate)
        assert wait_until(lambda: slurm.jobs("%j %T").count("holder RUNNING") == 2, PATIENCE)
        yield holders


def follow(isolated: Any, *args: Any) -> Recorder:
    """Launch a call, and return the recorder of its events."""
    recorder = Recorder(isolated.make_launcher())
    recorder.launch(*args)
    return recorder


def test_call_runs_in_a_warm_job(slurm: Any, host: Host[..., Any], capfd: Any):
    """Calls go to one job, which is kept; what they print arrives before the result."""

    @function("current", host=host, partition="second")
    def look(number: int) -> tuple[str, str, str]:
        print("over there")
        return os.environ["SLURM_JOB_ID"], os.environ["SLURMD_NODENAME"], os.getcwd()

    job, node, directory = look(1)
    assert capfd.readouterr().out == "over there\n"
    assert node == slurm.nodes[1]
    assert directory == os.getcwd()
    assert look(2)[0] == job


def test_function_sees_its_gpus(host: Host[..., Any]):
    """A function sees the GPUs that its options and its machine type claim, and no other."""

    def look() -> tuple[str | None, str]:
        return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ["SLURM_CPUS_ON_NODE"]

    def run(**options: Any) -> Any:
        return function("current", host=host, keep_alive=0, **options)(look)()

    assert run(num_gpus=1) == ("0", "1")
    assert run(machine_type="H100") == ("0,1", "2")
    assert run(machine_type=("H100", "SMALL"), num_gpus=1) == ("0", "2")
    assert run(machine_type="SMALL")[0] is None


def test_gpus_of_two_calls_differ(slurm: Any, host: Host[..., Any]):
    """Two calls that run at once on one node have different GPUs."""

    @function("current", host=host, num_gpus=1, partition="second", max_concurrency=2)
    def look(number: int) -> str:
        # Both run at once: each waits until the other is there.
        deadline = time.monotonic() + 60
        folder = Path(os.environ["SLURM_CONF"]).parent
        (folder / f"seen-{number}").touch()
        while not (folder / f"seen-{1 - number}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return os.environ["CUDA_VISIBLE_DEVICES"]

    assert sorted(look.map([0, 1])) == ["0", "1"]


def test_queued_call_says_why(busy: contextlib.ExitStack, host: Host[..., Any]):
    """
    A call whose job is queued is in that phase, is told what the job waits for, and runs
    once it may.
    """

    @function("current", host=host, num_gpus=1, keep_alive=0)
    def add(number: int) -> int:
        return number + 1

    def waits(event: Any) -> bool:
        return isinstance(event, Log) and event.message.endswith(" waits: Resources.")

    recorder = follow(add, 1)
    assert wait_until(lambda: any(map(waits, recorder.events)), PATIENCE)
    log = next(filter(waits, recorder.events))
    assert log.source == "BRIDGE"
    assert log.message.startswith("Slurm job ")
    phases = [event.name for event in recorder.events if isinstance(event, State)]
    assert phases[-1] == "queued"
    busy.close()
    assert recorder.wait(PATIENCE).reason is None
    phases = [event.name for event in recorder.events if isinstance(event, State)]
    assert phases[-3:] == ["queued", "starting", "running"]


def test_cancelled_call_leaves_the_queue(
    busy: contextlib.ExitStack, slurm: Any, host: Host[..., Any]
):
    """Cancelling a call whose job is queued takes the job out of the queue."""

    @function("current", host=host, num_gpus=1)
    def never() -> None:
        pass

    recorder = follow(never)
    assert wait_until(lambda: "PENDING Resources" in slurm.jobs("%T %r"), PATIENCE)
    recorder.cancel(1.0)
    assert isinstance(recorder.wait(PATIENCE).reason, errors.Cancelled)
    assert wait_until(lambda: "PENDING" not in slurm.jobs("%T"), PATIENCE)


def test_closed_host_takes_its_jobs_along(
    busy: contextlib.ExitStack, slurm: Any, slurm_example: ModuleType
):
    """Jobs that run and jobs that are queued end with their host."""
    host = slurm_example.SlurmHost()
    before = set(slurm.jobs("%A"))

    def run() -> None:
        pass

    function("current", host=host)(run)()
    recorder = follow(function("current", host=host, num_gpus=1)(run))
    assert wait_until(lambda: "PENDING Resources" in slurm.jobs("%T %r"), PATIENCE)
    assert len(set(slurm.jobs("%A")) - before) == 2
    host.close()
    assert isinstance(recorder.wait(PATIENCE).reason, errors.HostError)
    assert wait_until(lambda: set(slurm.jobs("%A")) <= before, PATIENCE)


def test_out_of_memory_is_said(slurm: Any, host: Host[..., Any]):
    """A job that uses more memory than its machine type has ends with OutOfMemory."""
    if not slurm.limits_memory:
        pytest.skip("This machine has no cgroup for memory that Slurm may use.")

    @function("current", host=host, machine_type="SMALL")
    def fill() -> int:
        return len(bytearray(500 << 20))

    with pytest.raises(errors.OutOfMemory, match=r"ran out of memory\. Ask for more"):
        fill()


def test_failed_node_is_said(slurm: Any, host: Host[..., Any], tmp_path: Path):
    """A call whose node fails ends, and is told so."""
    trace = tmp_path / "runs"

    @function("current", host=host, partition="second", keep_alive=0)
    def hold(path: str) -> None:
        Path(path).touch()
        # Ends with its node.
        time.sleep(600)

    recorder = follow(hold, str(trace))
    assert wait_until(trace.exists, PATIENCE)
    slurm.fail(slurm.nodes[1])
    reason = recorder.wait(PATIENCE).reason
    assert isinstance(reason, errors.WorkerLost)
    assert str(reason).endswith("The node of its job has failed.")
    # It comes back by itself.
    assert wait_until(slurm.is_up, PATIENCE)


@pytest.mark.faults
@pytest.mark.skipif(
    os.environ.get("FAL_CORE_FAULTS") != "all",
    reason="Slurm looks at time limits twice a minute, and the shortest is one.",
)
def test_time_limit_is_said(host: Host[..., Any]):
    """A call whose job reaches its time limit ends, and is told which option to change."""

    @function("current", host=host, time_limit=1)
    def hold() -> None:
        # Ends by the time limit of its job.
        time.sleep(600)

    with pytest.raises(errors.WorkerLost, match=r"reached its time limit: .* time_limit="):
        hold()


def test_refused_job_is_said(host: Host[..., Any]):
    """A job that Slurm does not take ends its call with what Slurm said."""

    def run() -> None:
        pass

    with pytest.raises(errors.HostClosed, match="invalid partition specified: nowhere"):
        function("current", host=host, partition="nowhere")(run)()
    with pytest.raises(errors.HostError, match="node configuration is not available"):
        function("current", host=host, num_gpus=9)(run)()


def test_unknown_machine_type_is_refused(host: Host[..., Any]):
    """A machine type that no plugin knows is refused before anything is queued."""

    def run() -> None:
        pass

    with pytest.raises(errors.OptionError, match="HUGE"):
        function("current", host=host, machine_type="HUGE")(run).submit()


def test_ended_job_is_lost(slurm: Any, host: Host[..., Any]):
    """A job that someone cancels in Slurm is a lost worker, with what Slurm said."""

    @function("current", host=host)
    def leave() -> None:
        subprocess.run(["scancel", os.environ["SLURM_JOB_ID"]], timeout=60, check=True)
        time.sleep(600)

    with pytest.raises(errors.WorkerLost, match="CANCELLED"):
        leave()


def test_call_runs_from_a_job(slurm: Any, slurm_example: ModuleType):
    """A program that runs in a job itself queues others, which do not ask for what it has."""
    program = (
        f"import sys; sys.path.insert(0, {str(EXAMPLE.parent)!r})\n"
        "from slurm_host import SlurmHost\n"
        "from fal_core import function\n"
        "import os\n"
        "host = SlurmHost()\n"
        "@function('current', host=host)\n"
        "def look(): return os.environ['SLURM_JOB_ID'], os.environ.get('SLURM_GPUS')\n"
        "print(look()[0] != os.environ['SLURM_JOB_ID'], look()[1])\n"
        "host.close()\n"
    )
    assert slurm.ask("srun", "--gpus=1", sys.executable, "-c", program) == "True None"


PROGRAM = """
import os
import subprocess
import sys
import time

from slurm_host import SlurmHost

from fal_core import function

host = SlurmHost()


@function("current", host=host)
def hold(path: str) -> None:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    with open(path + ".new", "w") as file:
        file.write(f"{os.environ['SLURM_JOB_ID']} {child.pid} {os.getpid()}")
    os.rename(path + ".new", path)
    time.sleep(600)


hold(sys.argv[1])
"""


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_lost_program_ends_its_jobs(slurm: Any, tmp_path: Path, number: signal.Signals):
    """A program that ends, however it does, leaves no job and no process on a node."""
    trace = tmp_path / "processes"
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(trace)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLE.parent), *sys.path])},
        stderr=subprocess.PIPE,
    )
    try:
        assert wait_until(lambda: trace.exists() or program.poll() is not None, PATIENCE)
        job, *words = trace.read_text().split()
        program.send_signal(number)
        assert wait_until(lambda: not any(is_alive(int(word)) for word in words), PATIENCE)
        assert wait_until(lambda: job not in slurm.jobs("%A"), PATIENCE)
    finally:
        program.kill()
        program.communicate()


QUEUED = """
from slurm_host import SlurmHost

from fal_core import function


def never() -> None:
    pass


function("current", host=SlurmHost(), num_gpus=1)(never)()
"""


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_lost_program_leaves_the_queue(
    busy: contextlib.ExitStack, slurm: Any, number: signal.Signals
):
    """A program that ends while its job is queued, however it does, leaves no job behind."""
    program = subprocess.Popen(
        [sys.executable, "-c", QUEUED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLE.parent), *sys.path])},
        stderr=subprocess.PIPE,
    )
    try:
        assert wait_until(lambda: "PENDING Resources" in slurm.jobs("%T %r"), PATIENCE)
        program.send_signal(number)
        assert wait_until(lambda: "PENDING" not in slurm.jobs("%T"), PATIENCE)
    finally:
        program.kill()
        program.communicate()
