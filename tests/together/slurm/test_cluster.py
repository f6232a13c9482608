"""What the host of the tutorial builds on is so on a real Slurm."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from fal_testing.harness.processes import wait_until


def test_job_has_what_it_asks_for(slurm: Any):
    """A job is told its GPUs, and runs on the node that it names."""
    said = slurm.ask(
        *("srun", "--gpus=2", f"--nodelist={slurm.nodes[1]}", "sh", "-c"),
        "echo $CUDA_VISIBLE_DEVICES $SLURMD_NODENAME",
    )
    assert said == f"0,1 {slurm.nodes[1]}"


def test_stream_through_srun_is_binary(slurm: Any):
    """Bytes go both ways unchanged, at once, while the job runs."""
    with subprocess.Popen(
        ["srun", "--unbuffered", "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as job:
        assert job.stdin is not None
        assert job.stdout is not None
        for data in (b"\0\xff\r\n\x1a\x04", bytes(range(256))):
            job.stdin.write(data)
            got = b""
            while len(got) < len(data):
                got += job.stdout.read(len(data))
            assert got == data
        job.stdin.close()
    assert job.returncode == 0


def test_terminated_srun_takes_its_job_out_of_the_queue(slurm: Any):
    """SIGTERM to srun ends its job, also while the job is queued."""
    holders = [
        subprocess.Popen(
            ["srun", "--job-name=holder", "--gpus=2", f"--nodelist={node}", "sleep", "600"]
        )
        for node in slurm.nodes
    ]
    try:
        assert wait_until(lambda: slurm.jobs("%j %T").count("holder RUNNING") == 2, 60)
        queued = subprocess.Popen(["srun", "--gpus=1", "true"], stderr=subprocess.PIPE)
        assert wait_until(lambda: "PENDING Resources" in slurm.jobs("%T %r"), 60)
        queued.terminate()
        queued.communicate(timeout=60)
        assert wait_until(lambda: "PENDING" not in slurm.jobs("%T"), 60)
    finally:
        for holder in holders:
            holder.terminate()
            holder.wait(timeout=60)
    assert wait_until(lambda: "holder" not in slurm.jobs("%j"), 60)


def test_memory_is_limited(slurm: Any):
    """A job that uses more memory than it asked for is killed, and Slurm says so."""
    if not slurm.limits_memory:
        pytest.skip("This machine has no cgroup for memory that Slurm may use.")
    greedy = "print(len(bytearray(500 << 20)))"
    job = subprocess.run(
        ["srun", "--mem=50", "--job-name=greedy", "python3", "-c", greedy],
        capture_output=True,
        timeout=60,
    )
    assert job.returncode != 0
    shown = ("squeue", "--noheader", "--states=all", "--name=greedy", "--format=%r")
    assert slurm.ask(*shown) == "OutOfMemory"
