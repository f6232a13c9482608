"""
What ``fal-core doctor`` checks about container engines.
"""

from __future__ import annotations

from fal_core.checks import Check, Finding
from fal_core.errors import EnvironmentBuildError
from fal_env_container.finding import find_engine, forget
from fal_env_container.limits import find_held_limits


def health_checks() -> list[Check]:
    """
    Return the checks of this plugin.
    """
    return [Check("container engine", check_engine)]


def check_engine() -> Finding:
    """
    Check that an engine answers, and say what it can do.
    """
    forget(described=True)
    try:
        engine = find_engine()
    except EnvironmentBuildError as error:
        reason = error.reason
        return Finding(False, reason[:1].upper() + reason[1:])
    where = "" if engine.place == "here" else ", on another machine"
    streams = "passed descriptors" if engine.passes_descriptors else "streams"
    return Finding(
        True,
        f"{engine.name} {engine.version} at {engine.program}{where}. Workers in its containers "
        f"are spoken to through {streams}. {find_held_limits(engine, anew=True)}",
    )
