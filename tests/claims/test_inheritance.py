"""Inheritance: claims that a process makes for another one."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from fal_core.claims import DevicesHeld, Want, claim_devices, describe_claim
from fal_testing.harness.devices import gpu, machine_with
from fal_testing.harness.processes import wait_until

ONE = [Want(count=1)]

#: Takes over the claim of its argument, starts a child process, and holds the claim.
HEIR = textwrap.dedent(
    """
    import subprocess, sys
    from fal_core.claims import inherit_claim
    claim = inherit_claim(sys.argv[1])
    child = subprocess.Popen(["sleep", "600"], close_fds=False)
    print(claim.devices[0].uuid, claim.machine, child.pid, flush=True)
    sys.stdin.read()
    """
)


def test_a_claim_goes_to_the_process_that_inherits_it() -> None:
    """
    It is held by that process, which others are told of, once its maker has given it up;
    and it is free once that process is killed, though a child of that process lives on.
    """
    with machine_with(gpu(0)):
        claim = claim_devices(ONE, wait=0)
        with subprocess.Popen(
            [sys.executable, "-c", HEIR, describe_claim(claim)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=claim.descriptors,
        ) as heir:
            assert heir.stdout is not None
            uuid, machine, child = heir.stdout.readline().split()
            try:
                claim.release()
                assert (uuid, machine) == ("GPU-0", "None")
                with pytest.raises(DevicesHeld, match=f"held by process {heir.pid} "):
                    claim_devices(ONE, wait=0)
                heir.kill()
                assert wait_until(_is_free, 30)
            finally:
                heir.kill()
                subprocess.run(["kill", child], check=True)


def _is_free() -> bool:
    try:
        claim_devices(ONE, wait=0).release()
    except DevicesHeld:
        return False
    return True
