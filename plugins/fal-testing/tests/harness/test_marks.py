"""Marks of the laws tell whether a function runs on, and go with the process that tests."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

from fal_core import function
from fal_testing import InProcessHost
from fal_testing.harness.marks import Marks
from fal_testing.harness.processes import wait_until

ADDS_TOO_LATE = """
import sys
from fal_core import function
from fal_testing import InProcessHost
from fal_testing.harness.marks import Marks

marks = Marks(lambda: function("current", host=InProcessHost()))
marks.add("first")
print(marks.read())
marks.remove()
marks.add("late")
print(marks.read())
"""


def test_marks_that_are_left_late_go_too(tmp_path: Path) -> None:
    """Marks that a function leaves after its law has ended do not outlive the tests."""
    done = subprocess.run(
        [sys.executable, "-c", ADDS_TOO_LATE],
        env={"TMPDIR": str(tmp_path), "FAL_CORE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["['first']", "['late']"], done.stderr
    assert list(tmp_path.glob("fal-core-marks-*")) == []


def test_marks_rest_once_nobody_adds_any() -> None:
    """Marks rest where no line comes meanwhile, and do not where one does."""
    marks = Marks(partial(function, "current", host=InProcessHost()))
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.001):
            marks.add("beat")

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        assert wait_until(lambda: not marks.rest_for(0.05), 30.0)
    finally:
        ended.set()
        thread.join()
    assert marks.rest_for(0.05)
    marks.remove()
