"""Devices of workers: which GPUs calls are given, and how long they keep them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from fal_core import OptionValueError, UnsupportedError, WorkerLost, function
from fal_core.claims import Claim, DevicesHeld, Want, claim_devices
from fal_core.machines import Machine
from fal_host_local import LocalHost
from fal_testing.harness.devices import gpu, machine_with
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.faults

H100 = Machine(name="GPU-H100", gpus=1, gpu_model="H100")
B200 = Machine(name="GPU-B200", gpus=8, gpu_model="B200")
ONE = [Want(count=1)]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims of the test's own."""
    monkeypatch.setenv("FAL_CORE_CLAIMS", str(tmp_path / "devices"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture(autouse=True)
def two_gpus() -> Iterator[None]:
    """Have two GPUs on this machine."""
    with machine_with(gpu(0), gpu(1), machines=(H100, B200)):
        yield


def visible() -> tuple[str | None, str | None]:
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("CUDA_DEVICE_ORDER")


def free(count: int = 1) -> bool:
    """Tell whether so many devices could be claimed just now."""
    try:
        claim_devices([Want(count=count)], wait=0).release()
    except DevicesHeld:
        return False
    return True


def held(count: int = 1) -> Claim:
    return claim_devices([Want(count=count)], wait=0)


def test_a_call_sees_the_gpus_that_it_was_given(host: LocalHost) -> None:
    """A call has as many GPUs as it asks for, by their UUIDs, and nobody else has them."""
    take = function("current", host=host, num_gpus=2)(visible)
    assert take() == ("GPU-0,GPU-1", "PCI_BUS_ID")
    assert not free()
    host.close()
    assert wait_until(lambda: free(2), 30)


def test_a_warm_worker_keeps_what_it_has(host: LocalHost) -> None:
    """Calls of one function are given the same GPU, and calls of another one another."""
    first = function("current", host=host, machine_type="GPU-H100")(visible)
    other = function("current", host=host, num_gpus=1)(visible)
    assert [first(), first(), other(), other()] == [
        ("GPU-0", "PCI_BUS_ID"),
        ("GPU-0", "PCI_BUS_ID"),
        ("GPU-1", "PCI_BUS_ID"),
        ("GPU-1", "PCI_BUS_ID"),
    ]
    assert host.worker_count == 2


def test_idle_workers_give_way(host: LocalHost) -> None:
    """A worker that is idle ends for a call that waits for its GPU, of another host too."""
    first = function("current", host=host, num_gpus=2, keep_alive=600)(visible)
    assert first()[0] == "GPU-0,GPU-1"
    another = LocalHost(wait=0)
    try:
        other = function("current", host=another, machine_type="GPU-H100")(visible)
        assert other()[0] in ("GPU-0", "GPU-1")
        assert host.worker_count == 0
    finally:
        another.close()


def test_a_call_that_waits_says_for_what(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While others hold what a call asks for it is queued, and its lines name the holder."""
    # Reading what pytest has captured loses what another thread prints meanwhile.
    said = StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    claim = held(2)
    future = function("current", host=host, num_gpus=1)(visible).submit()
    assert wait_until(lambda: "Waiting for a GPU" in said.getvalue(), 30)
    assert f"is held by process {os.getpid()} of user" in said.getvalue()
    claim.release()
    assert future.result(30)[0] == "GPU-0"


def test_waiting_ends_with_an_error_that_names_the_holder(host: LocalHost) -> None:
    """After ``wait`` seconds a call ends with ``DevicesHeld``; the next one works."""
    claim = held(2)
    take = function("current", host=host, num_gpus=1, wait=0.05)(visible)
    with pytest.raises(DevicesHeld, match=f"a GPU could not be had.*process {os.getpid()}"):
        take()
    claim.release()
    assert take()[0] == "GPU-0"


def test_the_host_says_how_long_calls_wait() -> None:
    """``LocalHost(wait=)`` holds for the calls whose options do not say."""
    claim = held(2)
    host = LocalHost(wait=0)
    try:
        with pytest.raises(DevicesHeld):
            function("current", host=host, num_gpus=1)(visible)()
    finally:
        claim.release()
        host.close()


def test_a_wait_that_is_none_is_refused() -> None:
    """Seconds are checked where a host is made."""
    for wait in (-1, float("inf")):
        with pytest.raises(OptionValueError, match=f"'wait' must be .*, not {wait}"):
            LocalHost(wait=wait)


def test_a_call_that_waits_can_be_cancelled(host: LocalHost) -> None:
    """A call that waits for a GPU is withdrawn when it is cancelled, and takes none."""
    claim = held(2)
    future = function("current", host=host, num_gpus=1)(visible).submit()
    future.cancel()
    claim.release()
    assert wait_until(lambda: free(2), 30)


def test_calls_share_what_their_own_worker_has(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A call that is not to wait for others waits for a worker of its own function all the same,
    also for one that has just been started.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    # Another worker is started at once.
    take = function("current", host=host, num_gpus=1, wait=0, scaling_delay=0)(visible)
    spawned = [take.spawn() for _ in range(4)]
    assert {each.return_value[0] for each in spawned} == {"GPU-0"}
    assert host.worker_count == 1


UNKNOWN = textwrap.dedent(
    """
    import os
    from fal_core import function
    def visible():
        return os.environ.get("CUDA_VISIBLE_DEVICES")
    print(function("current", host="local", num_gpus=1)(visible)())
    print(function("current", host="local", num_gpus=0)(visible)())
    """
)


def test_where_no_plugin_finds_gpus_calls_see_what_their_caller_does(tmp_path: Path) -> None:
    """
    Without a plugin that finds GPUs nobody knows that there are none: none is hidden, and it
    is said that none is claimed.
    """
    path = tmp_path / "unknown.py"
    path.write_text(UNKNOWN)
    done = subprocess.run(
        [sys.executable, str(path)],
        env=os.environ
        | {"FAL_CORE_PLUGINS_DENY": "fal-machines", "CUDA_VISIBLE_DEVICES": "0,1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.splitlines() == ["0,1", ""]
    said = "It asks for a GPU, and no installed plugin finds GPUs, as fal-machines finds those"
    assert said in done.stderr


def test_a_killed_worker_holds_nothing(host: LocalHost) -> None:
    """The GPUs of a worker that SIGKILL ends are free, though a child process went on."""

    @function("current", host=host, num_gpus=2)
    def end() -> None:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerLost, match="SIGKILL"):
        end()
    assert wait_until(lambda: free(2), 30)


def open_claims() -> list[str]:
    found = []
    for each in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{each}"))
        except OSError:
            # The one that lists them.
            continue
    return [path for path in found if path.endswith(".lock")]


def test_workers_inherit_no_claim(host: LocalHost) -> None:
    """No worker has a descriptor of a claim, neither its own nor that of another one."""
    assert function("current", host=host, num_gpus=2, keep_alive=600)(open_claims)() == []
    assert function("current", host=host)(open_claims)() == []
    assert not free()


IDLE = textwrap.dedent(
    """
    import sys
    from fal_core import function
    from fal_testing.harness.devices import gpu, machine_with
    with machine_with(gpu(0), gpu(1)):
        take = function("current", num_gpus=2, keep_alive=600)(lambda: None)
        take()
        print("idle", flush=True)
        sys.stdin.readline()
        take()
        print("again", flush=True)
    """
)


def test_idle_workers_of_other_programs_give_way(tmp_path: Path, host: LocalHost) -> None:
    """
    A call that waits for the GPU of an idle worker is given it, whichever program has that;
    a later call there has a new worker.
    """
    path = tmp_path / "idle.py"
    path.write_text(IDLE)
    with subprocess.Popen(
        [sys.executable, "-u", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "idle\n"
        assert function("current", host=host, num_gpus=1)(visible)()[0] == "GPU-0"
        assert process.poll() is None
        host.close()
        assert process.communicate("\n", timeout=60)[0] == "again\n"


CALLER = textwrap.dedent(
    """
    import time
    from fal_core import function
    from fal_testing.harness.devices import gpu, machine_with
    with machine_with(gpu(0), gpu(1)):
        @function("current", num_gpus=2)
        def hold():
            print("held", flush=True)
            time.sleep(600)
        hold()
    """
)


@pytest.mark.parametrize("victim", ["caller", "keeper"])
def test_what_a_killed_program_held_is_free(tmp_path: Path, victim: str) -> None:
    """SIGKILL of the caller, or of its keeper, frees the GPUs of its workers."""
    path = tmp_path / "caller.py"
    path.write_text(CALLER)
    with subprocess.Popen(
        [sys.executable, "-u", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert not free()
        [keeper] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(process.pid if victim == "caller" else int(keeper), signal.SIGKILL)
        assert wait_until(lambda: free(2), 30)
        process.kill()


def test_a_machine_without_such_gpus_runs_the_call(
    host: LocalHost, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where there is no such GPU a call runs without one, and that is said once."""
    take = function("current", host=host, machine_type="GPU-B200")(visible)
    assert take() == ("", "PCI_BUS_ID")
    assert take() == ("", "PCI_BUS_ID")
    said = capfd.readouterr().err
    reason = (
        "It asks for 8 GPUs of machine type 'GPU-B200', and this machine has 2 of the "
        "model 'Test H100'."
    )
    assert said.count(reason) == 1
    assert "option 'machine_type' of 'visible'" in said


@pytest.mark.parametrize("named", ["", "1"])
def test_what_a_scheduler_gave_is_all_there_is(
    host: LocalHost, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``CUDA_VISIBLE_DEVICES`` of the caller bounds what its calls are given."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    take = function("current", host=host, num_gpus=1, on_unsupported="ignore")(visible)
    assert take()[0] == ("GPU-1" if named else "")


def test_a_function_may_insist(host: LocalHost) -> None:
    """With ``on_unsupported='error'`` a call is refused where there is no such GPU."""
    take = function(
        "current", host=host, machine_type="GPU-B200", num_gpus=1, on_unsupported="error"
    )(visible)
    with pytest.raises(
        UnsupportedError, match=r"use option 'machine_type', 'num_gpus'.*2 of the model"
    ):
        take()


def test_a_function_that_asks_for_nothing_is_left_alone(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A call that names neither GPUs nor a machine sees what its caller does; one that is to
    have no GPU sees none.
    """
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert function("current", host=host)(visible)() == ("0,1", None)
    assert function("current", host=host, num_gpus=0)(visible)() == ("", "PCI_BUS_ID")


def test_a_service_has_its_gpus(host: LocalHost) -> None:
    """A service is given GPUs as a call is, until it has ended."""
    pytest.importorskip("fal_serve")
    import urllib.request

    service = function("current", host=host, serve=True, num_gpus=2)(visible).spawn()
    request = urllib.request.Request(service.url, method="POST")
    with urllib.request.urlopen(request) as response:
        assert b"GPU-0,GPU-1" in response.read()
    assert not free()
    service.stream.drain()
    assert service.return_value is None
    assert wait_until(lambda: free(2), 30)
