"""``fal-core doctor``."""

from __future__ import annotations

import json
from typing import Any

BROKEN = "raise RuntimeError('out of\\n  order')\n"


def test_doctor_reports_what_is_broken(command_line: Any) -> None:
    """A check that fails makes the exit code 1, and the other checks are made all the same."""
    command_line.install("torn", BROKEN)
    done = command_line("doctor", "--json")
    assert done.returncode == 1
    found = {finding["name"]: finding for finding in json.loads(done.stdout)}
    # What a plugin says in several lines is part of one sentence here.
    assert "out of order" in found["plugins"]["message"]
    assert not found["plugins"]["ok"]
    assert found["python"]["ok"]
