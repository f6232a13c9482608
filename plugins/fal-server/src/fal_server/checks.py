"""
What ``fal-core doctor`` checks about servers.
"""

from __future__ import annotations

from fal_core.checks import Check, Finding
from fal_core_worker.serving import networks


def health_checks() -> list[Check]:
    """
    Return the checks of this plugin.
    """
    return [Check("ports of runners", check_ports)]


def check_ports() -> Finding:
    """
    Check that an application can have a network of its own on this machine.
    """
    problem = networks.missing()
    if problem:
        return Finding(
            False,
            f"{problem} Until then every user of this machine reaches the ports of "
            "applications that a server runs here, so that it refuses those that are not "
            "public unless it is started with '--allow-open-runners'. Applications of "
            "fal-serve need no ports.",
        )
    return Finding(True, "Applications have networks of their own, whose ports nobody reaches.")
