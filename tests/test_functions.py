"""
Isolated functions, made without the decorator.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from fal_core.errors import OptionError
from fal_core.functions import IsolatedFunction
from fal_core.options import Options
from fal_core.testing import InProcessHost


def answer() -> int:
    """
    Return a number; it is not run.
    """
    return 42


def test_isolated_functions_are_made_as_documented() -> None:
    """
    The host, the function and its options are given; the executor is there all the same.
    """
    host = InProcessHost()
    with pytest.raises(TypeError, match="options"):
        IsolatedFunction(host, answer)  # type: ignore[call-arg]  # wrong on purpose
    isolated = IsolatedFunction(host, answer, Options(environment={"kind": "current"}))
    assert isinstance(isolated.executor, ThreadPoolExecutor)
    assert isolated.executor is isolated.executor
    isolated.executor.shutdown()


def test_callers_that_there_is_no_way_to_authorise() -> None:
    """
    A host refuses to run a function for callers whom there is no way to authorise, with the
    ways that there are.
    """
    options = Options(environment={"kind": "current"})
    for run in (InProcessHost().run, InProcessHost().spawn):
        with pytest.raises(OptionError, match="'public', 'private', 'shared' or None"):
            run(answer, options, (), {}, application_auth_mode="secret")  # type: ignore[arg-type]
