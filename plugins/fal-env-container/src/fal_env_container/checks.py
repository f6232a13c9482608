"""What ``fal-core doctor`` checks about container engines."""

from __future__ import annotations

from fal_core.checks import Check, Finding
from fal_core.errors import EnvironmentBuildError
from fal_env_container.finding import find_engine, forget
from fal_env_container.limits import find_held_limits, find_start_problem


def health_checks() -> list[Check]:
    """Return the checks of this plugin."""
    return [Check("container engine", check_engine)]


def check_engine() -> Finding:
    """Check that an engine answers and starts containers, and say what it can do."""
    forget(described=True)
    try:
        engine = find_engine()
    except EnvironmentBuildError as error:
        reason = error.reason
        return Finding(False, reason[:1].upper() + reason[1:])
    problem = find_start_problem(engine)
    if problem:
        # Podman calls it by its name, and does not say that it is a package of its own.
        remedy = "Install catatonit. " if "catatonit" in problem else ""
        return Finding(
            False,
            f"{engine.name} {engine.version} at {engine.program} starts no container: "
            f"{problem}. {remedy}Functions in containers fail until it does.",
        )
    where = "" if engine.place == "here" else ", on another machine"
    streams = "passed descriptors" if engine.passes_descriptors else "streams"
    return Finding(
        True,
        f"{engine.name} {engine.version} at {engine.program}{where}. Workers in its containers "
        f"are spoken to through {streams}. {find_held_limits(engine, anew=True)}",
    )
