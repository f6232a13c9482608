"""Platforms, as conda names them."""

from __future__ import annotations

import os
import sys

_MACHINES = {"x86_64": "64", "amd64": "64", "aarch64": "aarch64", "arm64": "arm64"}


def subdir() -> str:
    """Return conda's name of this platform, as in ``linux-64``."""
    system = {"darwin": "osx"}.get(sys.platform, sys.platform)
    machine = os.uname().machine.lower()
    return f"{system}-{_MACHINES.get(machine, machine)}"
