"""Device lines: who gets devices, in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fal_core.claims import DevicesHeld, Want, claim_devices, wanted_devices
from fal_core.machines import Device, Machine
from fal_server.devices.device_lines import DeviceLine, Turn
from fal_server.devices.inventories import Inventory
from fal_testing.harness.devices import gpu, gpu_slice, machine_with

PATIENCE = 60.0
H100 = Machine(name="GPU-H100", gpus=1, gpu_model="H100")
A100 = Machine(name="GPU-A100", gpus=1, gpu_model="A100")
ONE, TWO = [Want(count=1)], [Want(count=2)]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims of the test's own."""
    monkeypatch.setenv("FAL_CORE_CLAIMS", str(tmp_path / "devices"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def run(work: Callable[[DeviceLine], Awaitable[None]], *devices: Device) -> None:
    """Do *work* with a line on a machine with *devices*."""

    async def main() -> None:
        with ThreadPoolExecutor(2) as threads:
            line = DeviceLine(Inventory(), threads)
            try:
                await asyncio.wait_for(work(line), PATIENCE)
            finally:
                await line.close()

    with machine_with(*devices):
        asyncio.run(main())


async def got(turn: Turn) -> list[str]:
    """Return what a turn gets."""
    claim = await turn.claim
    assert claim is not None
    return [device.uuid for device in claim.devices]


async def told(turn: Turn) -> str:
    """Return the reason for which a turn waits."""
    while not turn.reason:
        await asyncio.sleep(0.01)
    return turn.reason


def release(turn: Turn) -> None:
    claim = turn.claim.result()
    assert claim is not None
    claim.release()


def ignore() -> None:
    """Be told of nothing."""


def is_free(uuid: str) -> bool:
    try:
        claim_devices(ONE, wait=0, devices=[gpu(0, uuid=uuid)]).release()
    except DevicesHeld:
        return False
    return True


def test_in_the_order_in_which_they_came() -> None:
    """Those who wait get a device in their order, and are wished for meanwhile."""

    async def work(line: DeviceLine) -> None:
        turns = [line.enter(ONE, ignore) for _ in range(3)]
        for turn in turns:
            assert await got(turn) == ["GPU-0"]
            assert not any(each.claim.done() for each in turns[turns.index(turn) + 1 :])
            if turn is turns[0]:
                assert "It waits for a GPU" in await told(turns[1])
                assert wanted_devices(["GPU-0"]) == {"GPU-0"}
            release(turn)
            line.wake()

    run(work, gpu(0))
    assert not wanted_devices(["GPU-0"])


def test_who_wants_two_is_not_passed_and_others_are_not_held_up() -> None:
    """One that waits for two devices keeps those behind it from these, and from no others."""
    two, a100 = [Want(count=2, machine=H100)], [Want(count=1, machine=A100)]

    async def work(line: DeviceLine) -> None:
        first = line.enter(ONE, ignore)
        assert await got(first) == ["GPU-0"]
        pair = line.enter(two, ignore)
        later = line.enter([Want(count=1, machine=H100)], ignore)
        other = line.enter(a100, ignore)
        assert await got(other) == ["GPU-2"]
        assert (await told(pair)).startswith("It waits for 2 GPUs of machine type 'GPU-H100'")
        assert "came before" in await told(later)
        release(first)
        line.wake()
        assert await got(pair) == ["GPU-0", "GPU-1"]
        assert not later.claim.done()
        release(pair)
        assert await got(later) == ["GPU-0"]
        for turn in (later, other):
            release(turn)

    run(work, gpu(0), gpu(1), gpu(2, name="Test A100"))


def test_slices_of_what_is_waited_for() -> None:
    """
    A slice is not given while somebody waits for what it is a slice of, and other slices of
    the same GPU are.
    """
    small = Machine(name="SMALL", gpus=1, gpu_memory=1)
    whole = gpu(0, partitioned=True)

    async def work(line: DeviceLine) -> None:
        want = [Want(count=1, machine=small)]
        first, second, third = (line.enter(want, ignore) for _ in range(3))
        assert sorted(await got(first) + await got(second)) == ["MIG-0", "MIG-1"]
        assert await told(third)
        release(second)
        await got(third)
        for turn in (first, third):
            release(turn)

    run(work, whole, gpu_slice(0, "GPU-0"), gpu_slice(1, "GPU-0"))


def test_what_the_machine_does_not_have() -> None:
    """
    Whoever asks for what is not there is told so, holds nobody up, and gets it once it is
    there.
    """
    changes: list[str] = []

    async def work(line: DeviceLine) -> None:
        many = line.enter(TWO, lambda: changes.append(many.reason))
        assert await told(many) == (
            "It asks for 2 GPUs, and this machine has 1 of the model 'Test H100'."
        )
        assert not many.is_possible
        typed = line.enter([Want(count=2, machine=H100)], ignore)
        assert await told(typed) == (
            "It asks for 2 GPUs of machine type 'GPU-H100', and this machine has 1 of the "
            "model 'Test H100'."
        )
        typed.leave()
        one = line.enter(ONE, ignore)
        assert await got(one) == ["GPU-0"]
        release(one)
        with machine_with(gpu(1)):
            # Somebody comes, so the drivers are asked.
            line.enter([Want(count=3)], ignore)
            assert await got(many) == ["GPU-0", "GPU-1"]
        release(many)

    run(work, gpu(0))
    assert changes == ["It asks for 2 GPUs, and this machine has 1 of the model 'Test H100'."]


def test_who_leaves_gets_nothing() -> None:
    """A turn that is given up gets nothing, and what was claimed for it is free."""

    async def work(line: DeviceLine) -> None:
        first, gone, last = (line.enter(ONE, ignore) for _ in range(3))
        gone.leave()
        assert await gone.claim is None
        await got(first)
        release(first)
        assert await got(last) == ["GPU-0"]
        release(last)

    run(work, gpu(0))
    assert is_free("GPU-0")


def test_directory_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where devices cannot be claimed, those who wait are told why."""
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("FAL_CORE_CLAIMS", str(file))

    async def work(line: DeviceLine) -> None:
        turn = line.enter(ONE, ignore)
        assert "Devices cannot be claimed" in await told(turn)
        assert turn.is_possible

    run(work, gpu(0))
