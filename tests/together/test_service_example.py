"""The example of a service."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_example_is_called_as_it_says():
    """The example's client gets an answer, a stream and a realtime answer."""
    ended = subprocess.run(
        [sys.executable, "call_service.py"],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert "6 words of 13 letters, 13 Bytes" in lines
    assert [line for line in lines if line.startswith("streamed")] == [
        "streamed one",
        "streamed by",
        "streamed one",
    ]
    assert "realtime AHOY" in lines
