"""
Limits that engines do not keep, as they say it.
"""

from __future__ import annotations

import pytest

from fal_core.errors import EnvironmentBuildError
from fal_env_container.engines import Answer, ask, limits_in


@pytest.mark.parametrize(
    ("line", "limits"),
    [
        (
            "Resource limits are not supported and ignored on cgroups V1 rootless systems",
            {"memory", "cpus", "pids"},
        ),
        (
            "WARNING: Your kernel does not support memory limit capabilities or the cgroup is "
            "not mounted. Limitation discarded.",
            {"memory"},
        ),
        (
            "WARNING: Your kernel does not support pids limit capabilities or the cgroup is "
            "not mounted. PIDs limit discarded.",
            {"pids"},
        ),
        ("The image platform (linux/arm64) does not match", set()),
        ("", set()),
    ],
)
def test_ignored_limits_are_read(line: str, limits: set[str]):
    """
    A warning that a limit is ignored is kept with the limits that it means.
    """
    found = limits_in(f"something else\n{line}\n")
    assert found == dict.fromkeys(limits, line)


def test_problem_is_the_last_line():
    """
    What an engine says last is the reason, without its own prefix and full stop.
    """
    assert Answer(1, "", "x\nError: no such image.\n\n").problem == "no such image"
    assert Answer(1, "", "").problem == "it does not say why"


def test_program_that_does_not_start():
    """
    A program that cannot be started, or does not answer, is one sentence.
    """
    with pytest.raises(EnvironmentBuildError, match="/absent cannot be started: No such file"):
        ask(["/absent"])
    with pytest.raises(EnvironmentBuildError, match=r"sleep 60 has not answered within 0\.1 s"):
        ask(["sleep", "60"], seconds=0.1)
