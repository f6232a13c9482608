"""
Network namespaces: running a service whose port is taken in a network of its own.
"""

from __future__ import annotations

import shutil
import sys

import attrs

from fal_core.environments import Command
from fal_core_worker import networks


def isolate(command: Command, *, outer: int, inner: int) -> Command:
    """
    Return a command that runs *command* in a network of its own.

    The process creates the network and then executes *command*, which can reach the
    networks of this machine.

    Arguments:
        outer: The port of this machine that leads to *inner*.

        inner: The port inside the network.
    """
    pasta = shutil.which("pasta")
    assert pasta is not None
    enter = (sys.executable, "-I", "-S", networks.__file__, pasta, str(outer), str(inner))
    return attrs.evolve(command, argv=(*enter, *command.argv))
