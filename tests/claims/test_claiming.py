"""Claims: each device is given to one at a time, and all that a call asks for or none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fal_core.claims import Claim, DevicesHeld, Want, claim_devices
from fal_core.errors import Cancelled
from fal_core.machines import Device, Machine
from fal_testing.harness.devices import gpu, gpu_slice, machine_with
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.faults

ONE, TWO = [Want(count=1)], [Want(count=2)]

#: Claims as many of two GPUs as its argument says, prints which, and holds them until its
#: standard input ends.
HOLDER = textwrap.dedent(
    """
    import sys
    from fal_core.claims import DevicesHeld, Want, claim_devices
    from fal_testing.harness.devices import gpu, machine_with
    with machine_with(gpu(0), gpu(1)):
        sys.stdin.readline()
        try:
            claim = claim_devices([Want(count=int(sys.argv[1]))], wait=0)
        except DevicesHeld:
            print("none", flush=True)
        else:
            print(*[device.uuid for device in claim.devices], flush=True)
            sys.stdin.read()
    """
)

Hold = Callable[[int], "subprocess.Popen[str]"]


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Start processes that claim once they are sent a line, and end them at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(count: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def claim(count: int = 1) -> Claim | None:
    try:
        return claim_devices([Want(count=count)], wait=0)
    except DevicesHeld:
        return None


def test_a_device_is_given_once_to_threads() -> None:
    """Of many threads that ask at once, as many are given one as there are devices."""
    with machine_with(gpu(0), gpu(1), gpu(2)), ThreadPoolExecutor(8) as threads:
        made = [each for each in threads.map(lambda _: claim(), range(8)) if each]
    assert sorted(each.devices[0].uuid for each in made) == ["GPU-0", "GPU-1", "GPU-2"]
    for each in made:
        each.release()


def test_two_processes_that_ask_for_all_devices(hold: Hold) -> None:
    """One of two processes that want two of two devices is given both, and the other none."""
    processes = [hold(2), hold(2)]
    for process in processes:
        tell(process)
    assert sorted(map(answer, processes)) == [["GPU-0", "GPU-1"], ["none"]]


def test_the_last_device_goes_to_one_process(hold: Hold) -> None:
    """Processes that ask for the last device at once: one is given it, the others none."""
    with machine_with(gpu(0), gpu(1)):
        held = claim()
        processes = [hold(1) for _ in range(3)]
        for process in processes:
            tell(process)
        assert sorted(map(answer, processes)) == [["GPU-1"], ["none"], ["none"]]
        assert held is not None
        held.release()


def test_a_claim_is_free_when_its_holder_is_killed(hold: Hold) -> None:
    """A holder that SIGKILL ends holds nothing, and nothing has to be cleaned up."""
    process = hold(2)
    tell(process)
    assert answer(process) == ["GPU-0", "GPU-1"]
    with machine_with(gpu(0), gpu(1)):
        assert claim() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        free = claim(2)
    assert free is not None
    free.release()


def test_the_error_names_the_holder(hold: Hold) -> None:
    """Who waits in vain is told what was wanted, and which process of whom holds it."""
    process = hold(2)
    tell(process)
    answer(process)
    with machine_with(gpu(0), gpu(1)), pytest.raises(DevicesHeld) as caught:
        claim_devices(TWO, wait=0.1)
    assert str(caught.value).startswith(
        "2 GPUs could not be had within 0.1 s. Test H100 (GPU-0)"
    )
    assert len(caught.value.holders) == 2
    assert f"process {process.pid} of user" in caught.value.holders[1]


class Looked(list[Device]):
    """Devices that call *then* once they are looked at for the *left*-th time."""

    left = 0
    then: Callable[[], object]

    def __iter__(self) -> Iterator[Device]:
        self.left -= 1
        if not self.left:
            self.then()
        return super().__iter__()


@pytest.mark.parametrize("look", range(1, 6))
def test_the_error_names_somebody(look: int) -> None:
    """Whenever the holder ends, the device is had, or the error says who holds it."""
    devices = Looked([gpu(0)])
    held = claim_devices(ONE, devices=devices)
    devices.left, devices.then = look, held.release
    holders: tuple[str, ...] | None = None
    try:
        claim_devices(ONE, devices=devices, wait=0).release()
    except DevicesHeld as error:
        holders = error.holders
    assert holders != ()
    held.release()


def test_who_waits_is_told_and_given_what_becomes_free() -> None:
    """A thread that waits says what it waits for, and has it once it is released."""
    said: list[str] = []
    with machine_with(gpu(0)), ThreadPoolExecutor(1) as threads:
        held = claim_devices(ONE)
        waiting = threads.submit(claim_devices, ONE, say=said.append)
        assert wait_until(lambda: bool(said), 30)
        held.release()
        waiting.result(30).release()
    [line] = said
    assert line.startswith(
        f"Waiting for a GPU. Test H100 (GPU-0) is held by process {os.getpid()}"
    )


def test_waiting_ends_when_nobody_wants_it() -> None:
    """A claim that is cancelled while it waits raises, and takes nothing."""
    cancelled = threading.Event()
    with machine_with(gpu(0)):
        held = claim_devices(ONE)
        with pytest.raises(Cancelled):
            claim_devices(
                ONE, cancelled=cancelled, make_room=lambda _: cancelled.set() or False
            )
        held.release()


def test_devices_that_will_be_free_soon_are_waited_for() -> None:
    """Whoever makes room is waited for, also by a claim that is not to wait for others."""
    with machine_with(gpu(0)):
        held = claim_devices(ONE)

        def make_room(uuids: object) -> bool:
            assert list(uuids) == ["GPU-0"]  # type: ignore[call-overload]  # a collection
            held.release()
            return True

        claim_devices(ONE, wait=0, make_room=make_room).release()


def test_a_slice_keeps_the_whole_from_others() -> None:
    """What a slice is a slice of is not given while it is held, nor a slice of what is held."""
    whole, first, second = gpu(0), gpu_slice(0, "GPU-0"), gpu_slice(1, "GPU-0")
    with machine_with(first, second):
        one = claim_devices(ONE, wait=0)
        other = claim_devices(ONE, wait=0)
    with machine_with(whole):
        with pytest.raises(DevicesHeld, match="a process that has a slice of it"):
            claim_devices(ONE, wait=0)
        one.release()
        other.release()
        held = claim_devices(ONE, wait=0)
    with machine_with(first):
        with pytest.raises(DevicesHeld, match=f"held by process {os.getpid()}"):
            claim_devices(ONE, wait=0)
        held.release()


def test_of_several_machine_types_the_first_that_is_free() -> None:
    """A call that names several types has the first whose devices are free."""
    fast = Machine(name="fast", gpus=1, gpu_model="H100")
    slow = Machine(name="slow", gpus=1, gpu_model="A100")
    wants = [Want(count=1, machine=fast), Want(count=1, machine=slow)]
    with machine_with(gpu(0), gpu(1, name="Test A100")):
        made = [claim_devices(wants, wait=0) for _ in range(2)]
    assert [each.machine for each in made] == [fast, slow]
    for each in made:
        each.release()


def test_a_machine_without_such_devices_claims_none() -> None:
    """Where there is nothing to wait for the claim is empty, and hides what there is."""
    with machine_with(gpu(0)):
        made = claim_devices(
            [Want(count=1, machine=Machine(name="b", gpus=1, gpu_model="B200"))]
        )
    assert made.devices == ()
    assert made.variables["CUDA_VISIBLE_DEVICES"] == ""


def test_a_machine_without_gpus_claims_nothing(directory: Path) -> None:
    """
    Where no GPU is wanted, and where the first choice has none, nothing is locked: it works
    where no claim does.
    """
    directory.write_text("This is no directory.")
    small = Machine(name="small", cpus=1)
    large = Machine(name="large", gpus=1, gpu_model="H100")
    wants = [Want(count=0, machine=small), Want(count=1, machine=large)]
    with machine_with(gpu(0)):
        for wanted in (wants[:1], wants):
            made = claim_devices(wanted)
            assert (made.machine, made.devices) == (small, ())
            assert made.variables["CUDA_VISIBLE_DEVICES"] == ""


def test_what_others_use_without_a_claim_is_told() -> None:
    """A device that a foreign process uses is given last, and what it uses is said."""
    said: list[str] = []
    with machine_with(gpu(0, processes=(4321,), used=60 << 30)):
        claim_devices(ONE, say=said.append).release()
    assert said == [
        "Test H100 (GPU-0) is used by process 4321 without a claim: 21.5 GB of its 85.9 GB "
        "are free."
    ]


def test_what_a_scheduler_gave_is_not_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``CUDA_VISIBLE_DEVICES`` set, no other device is claimed."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with machine_with(gpu(0), gpu(1)):
        held = claim_devices(ONE, wait=0)
        assert held.variables == {
            "CUDA_VISIBLE_DEVICES": "GPU-1",
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        }
        with pytest.raises(DevicesHeld):
            claim_devices(ONE, wait=0)
        # More than are visible are not there at all.
        assert claim_devices(TWO).devices == ()
        held.release()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_does_not_keep_the_claims_of_its_parent() -> None:
    """A forked child that goes on holds none of the devices of its parent."""
    with machine_with(gpu(0)):
        held = claim_devices(ONE)
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.close(theirs)
            os.read(ours, 1)
            os._exit(0)
        os.close(ours)
        held.release()
        try:
            claim_devices(ONE, wait=30).release()
        finally:
            os.close(theirs)
            os.waitpid(child, 0)
