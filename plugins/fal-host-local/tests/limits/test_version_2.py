"""
Limits by cgroups of version 2, on a kernel that has them: user-mode Linux, where it is
installed.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.faults

HERE = Path(__file__).parent

#: The tests that need cgroups.
NEEDING = "killed_there or processors or processes or stays_busy or cannot_be_set"

#: What the first process of that kernel does: as systemd does, it delegates a part of the
#: hierarchy, and then it runs tests.
INIT = """\
#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd /sys/fs/cgroup
echo '+memory +cpu +pids' > cgroup.subtree_control
mkdir -p app/terminal
echo '+memory +cpu +pids' > app/cgroup.subtree_control
echo $$ > app/terminal/cgroup.procs
mount -t tmpfs tmpfs /tmp
export HOME=/tmp FAL_CORE_CACHE=/tmp/cache HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
export PATH={path}
cd {root}
{command}
echo o > /proc/sysrq-trigger
sleep 60
"""


def test_limits_of_version_2(tmp_path: Path) -> None:
    """What holds with version 1 holds with version 2."""
    kernel = shutil.which("linux.uml")
    if kernel is None:
        pytest.skip("linux.uml is not installed, as by the package user-mode-linux")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-k", NEEDING]
    init = tmp_path / "init"
    init.write_text(
        INIT.format(
            path=shlex.quote("/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
            root=shlex.quote(str(HERE.parents[3])),
            command=shlex.join([*command, str(HERE / "test_limits.py")]),
        )
    )
    init.chmod(0o700)
    machine = ("rootfstype=hostfs", "rootflags=/", "ro", "mem=1024M", f"init={init}")
    done = subprocess.run(
        [kernel, *machine, "con=null", "con0=fd:0,fd:1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=550,
    )
    last = next((line for line in done.stdout.splitlines() if " passed" in line), "")
    assert last, done.stdout[-5000:]
    assert "failed" not in last, done.stdout[-5000:]
    assert "skipped" not in last, done.stdout[-5000:]
