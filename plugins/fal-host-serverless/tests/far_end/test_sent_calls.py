"""Calls in a stock isolate agent, which has nothing of fal-core installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import FalSerializationError
from fal_testing.pythons import find_other_python


def test_agent_has_nothing_of_ours(host: Any, agent_python: Path):
    """The function runs in an agent that cannot import fal_core."""
    done = subprocess.run([agent_python, "-c", "import fal_core"], capture_output=True)
    assert b"ModuleNotFoundError" in done.stderr

    @function("virtualenv", host=host)
    def look() -> tuple[bool, str | None, bool]:

        # What this module imports travels beside, from a checkout; it is not used.
        agent = os.environ.get("IS_ISOLATE_AGENT")
        return "fal_core" not in sys.modules, agent, "isolate" in sys.modules

    assert look() == (True, "1", True)


def test_function_is_opened_once_in_an_agent(host: Any):
    """Later calls in an agent use the function, and the result of its setup, of the first."""

    def prepare() -> list[int]:
        return []

    @function("virtualenv", host=host, setup_function=prepare)
    def count(seen: list[int]) -> tuple[int, int]:

        seen.append(1)
        return os.getpid(), len(seen)

    first, second = count(), count()
    assert first[0] == second[0]
    assert (first[1], second[1]) == (1, 2)


def test_home_call_is_refused(host: Any):
    """
    A function with other options cannot be called from a serverless host, and the error says
    so.
    """

    @function("virtualenv", host=host, machine_type="L")
    def other() -> int:
        return 1

    @function("virtualenv", host=host)
    def outer() -> int:
        return other()

    with pytest.raises(RuntimeError, match="cannot call home"):
        outer()


def test_tracebacks_have_frames_of_the_user_alone(host: Any):
    """A traceback begins with the function, its setup function or its coroutine."""

    def prepare() -> None:
        raise LookupError("in the setup")

    @function("virtualenv", host=host, setup_function=prepare)
    def give(prepared: None) -> int:
        return 1

    @function("virtualenv", host=host)
    async def wait() -> None:
        raise LookupError("in the coroutine")

    for isolated, name in ((give, "prepare"), (wait, "wait")):
        with pytest.raises(LookupError) as caught:
            isolated()
        cause = str(caught.value.__cause__)
        assert f"in {name}\n" in cause
        assert cause.count('  File "') == 1, cause


@pytest.fixture(scope="module")
def foreign(relay: Any, tmp_path_factory: pytest.TempPathFactory, relays: Any) -> str:
    """Another minor version of Python in which the relay runs functions."""
    version = find_other_python("3.13", "3.11").python_version
    assert version is not None
    folder = tmp_path_factory.mktemp("foreign") / "venv"
    try:
        relay.pythons[version] = relays.make_agent_environment(folder, version)
    except subprocess.CalledProcessError:
        pytest.skip(f"Python {version} cannot have an environment here.")
    return version


def test_function_runs_on_another_python(host: Any, foreign: str):
    """A function travels as source to another minor version of Python, and its errors come back."""

    @function("virtualenv", host=host, python_version=foreign)
    def divide(one: int, other: int) -> tuple[str, float]:

        print("dividing")
        return f"{sys.version_info.major}.{sys.version_info.minor}", one / other

    assert divide(1, 2) == (foreign, 0.5)
    with pytest.raises(ZeroDivisionError):
        divide(1, 0)


def test_code_of_another_python_is_refused(host: Any, foreign: str):
    """An argument that holds code of this Python is refused, and the error names both versions."""

    @function("virtualenv", host=host, python_version=foreign)
    def call(what: Any) -> Any:
        return what()

    with pytest.raises(FalSerializationError, match=foreign):
        call(lambda: 1)
