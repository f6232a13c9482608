"""Meters: what calls have used is told once their workers have ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import attrs
import pytest

from fal_core import UnsupportedError, function
from fal_core.abilities import Usage
from fal_core.environments import Command, CurrentEnvironment, Interpreter, LocalInterpreter
from fal_core.events import LogSink
from fal_core.hooks import hookimpl
from fal_core.machines import Device
from fal_core.options import Gateway
from fal_core.plugins import registered
from fal_host_local import LocalHost
from fal_host_local.limits import no_network
from fal_testing.harness.devices import GIB, gpu
from fal_testing.harness.processes import wait_until

MB = 1000**2


def spend(size: int) -> int:
    import time

    held = bytearray(size)
    began = time.process_time()
    while time.process_time() - began < 0.2:
        pass
    return len(held)


def test_memory_and_processors_are_measured() -> None:
    """The most memory that a worker has used at once, and the time of its processors."""
    host = LocalHost(measure=True)
    assert function("current", host=host)(spend)(200 * MB) == 200 * MB
    usage = host.read_usage()
    assert 200 * MB < usage.memory < 400 * MB
    assert 0.2 <= usage.processor_seconds < 10
    assert usage.gpu_memory is None
    # A worker that is measured has ended; the next call has another one.
    assert function("current", host=host)(spend)(1) == 1
    assert host.read_usage().memory < 200 * MB
    host.close()


def count_turns() -> int:
    """Return how often the keeper, the parent of a worker, has waited for something."""
    status = Path(f"/proc/{os.getppid()}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_child_processes_count() -> None:
    """The memory of child processes is that of the call, and is not counted twice if shared."""
    host = LocalHost(measure=True)

    @function("current", host=host)
    def start() -> None:
        program = "import time; held = bytearray(150_000_000); print(flush=True); input()"
        started = [
            subprocess.Popen(
                [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for _ in range(2)
        ]
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        before = count_turns()
        assert wait_until(lambda: count_turns() > before + 3, 60)
        for process in started:
            process.communicate(b"\n")

    start()
    assert host.read_usage().memory > 300 * MB
    host.close()


def test_a_host_that_measures_nothing_has_nothing_to_tell(host: LocalHost) -> None:
    """Only a host that was made to measure does so."""
    assert function("current", host=host)(spend)(1) == 1
    assert host.read_usage().memory == 0
    assert host.measuring().measure


def test_memory_of_gpus_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of its GPUs that is in use beyond what was at the start is that of the call."""
    monkeypatch.setenv("FAL_CORE_CLAIMS", str(tmp_path / "devices"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    used = tmp_path / "used"
    used.write_text("1")
    looks = tmp_path / "looks"
    looks.touch()

    class Vendor:
        fal_core_api = 1

        @hookimpl
        def fal_discover_devices(self) -> list[Device]:
            with looks.open("a") as file:
                file.write(".")
            return [gpu(0, used=int(used.read_text() or 1) * GIB)]

    host = LocalHost(measure=True)

    @function("current", host=host, num_gpus=1)
    def fill(path: str, looks: str) -> None:
        Path(path).write_text("5")
        before = Path(looks).stat().st_size
        assert wait_until(lambda: Path(looks).stat().st_size > before + 2, 60)

    with registered(Vendor()):
        fill(str(used), str(looks))
        assert host.read_usage().gpu_memory == 4 * GIB
    host.close()


@pytest.mark.parametrize("terms", [{"measure": True}, {"network": False}], ids=str)
def test_what_an_engine_runs_is_left_to_it(terms: dict[str, bool]) -> None:
    """
    A worker that another program runs, as in a container, is refused what the host cannot
    do for it.
    """

    @attrs.frozen
    class Contained(LocalInterpreter):
        def command(self, arguments: Sequence[str], **more: Any) -> Command:
            return attrs.evolve(super().command(arguments, **more), stop_argv=("true",))

    class Image(CurrentEnvironment):
        key = "image"

        def build(self, log: LogSink, cancelled: Event) -> Interpreter:
            return Contained(sys.executable)

    if "network" in terms and no_network.problem():
        pytest.skip(no_network.problem())
    host = LocalHost(**terms)
    isolated = function("current", host=host)(spend)
    launcher = isolated.make_launcher()
    call = attrs.evolve(launcher.call(((1,), {})), environment=Image())
    waiter = launcher.make_waiter()
    waiter.wait(launcher.launch(call, waiter))
    with pytest.raises(UnsupportedError, match=r"a container|of kind 'container'"):
        waiter.result()
    host.close()


def test_what_an_engine_runs_is_refused_before_it_is_built() -> None:
    """A call whose processes an engine starts is refused at once, and has used nothing."""

    class Image(CurrentEnvironment):
        kind = "image"
        isolates_files = True

        def build(self, log: LogSink, cancelled: Event) -> Interpreter:
            raise AssertionError("It is built.")

    host = LocalHost(measure=True)
    with pytest.raises(UnsupportedError, match="measure calls of kind 'image'"):
        host.check(Image(), host.options(), Gateway())
    assert host.read_usage() == Usage()
    host.close()
    with pytest.raises(UnsupportedError, match=r"kind 'image' without .* options of the func"):
        LocalHost(network=False).check(Image(), host.options(), Gateway())
