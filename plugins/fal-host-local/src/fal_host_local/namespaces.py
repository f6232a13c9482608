"""
Network namespaces: a service that insists on a port, beside another that has it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache

import attrs

from fal_core.environments import Command
from fal_host_local import entering


@cache
def missing() -> str:
    """
    Return why no network namespace can be had, as a sentence; empty if one can.
    """
    if not sys.platform.startswith("linux"):
        return "Only Linux has network namespaces, where each could have its own."
    if shutil.which("pasta") is None:
        return (
            "Where the program pasta is installed (of the package passt), "
            "each gets a network of its own."
        )
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "A network of its own needs /dev/net/tun, which this user may not open."
    tried = ["unshare", "--user", "--net", "true"]
    if shutil.which("unshare") and subprocess.run(tried, capture_output=True).returncode:
        return "A network of its own needs user namespaces, which this machine refuses."
    return ""


def isolated(command: Command, *, outer: int, inner: int) -> Command:
    """
    Return *command* in a network of its own, as another command.

    It becomes the process that it is given, which can reach the outside.

    Arguments:
        outer: The port of this machine that leads to *inner*.
    """
    pasta = shutil.which("pasta")
    assert pasta is not None
    enter = (sys.executable, "-I", "-S", entering.__file__, pasta, str(outer), str(inner))
    return attrs.evolve(command, argv=(*enter, *command.argv))
