"""
Network namespaces: a service that insists on a port, beside another that has it.
"""

from __future__ import annotations

import shutil
import sys

import attrs

from fal_core.environments import Command
from fal_core_worker.serving import networks


def isolated(command: Command, *, outer: int, inner: int) -> Command:
    """
    Return *command* in a network of its own, as another command.

    It becomes the process that it is given, which can reach the outside.

    Arguments:
        outer: The port of this machine that leads to *inner*.
    """
    pasta = shutil.which("pasta")
    assert pasta is not None
    enter = (sys.executable, "-I", "-S", networks.__file__, pasta, str(outer), str(inner))
    return attrs.evolve(command, argv=(*enter, *command.argv))
