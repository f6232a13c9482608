"""
Marks of the laws go with the process that tests.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ADDS_TOO_LATE = """
import sys
from fal_core import function
from fal_core.testing import InProcessHost
from fal_core.testing.harness.marks import Marks

marks = Marks(lambda: function("current", host=InProcessHost()))
marks.add("first")
print(marks.read())
marks.remove()
marks.add("late")
print(marks.read())
"""


def test_marks_that_are_left_late_go_too(tmp_path: Path) -> None:
    """
    Marks that a function leaves after its law has ended do not outlive the tests.
    """
    done = subprocess.run(
        [sys.executable, "-c", ADDS_TOO_LATE],
        env={"TMPDIR": str(tmp_path), "FAL_CORE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["['first']", "['late']"], done.stderr
    assert list(tmp_path.glob("fal-core-marks-*")) == []
