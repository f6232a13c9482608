"""Another Python: functions of tests that run in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core import function
from fal_core.environments import THIS_PYTHON
from fal_core.errors import EnvironmentBuildError, OptionError, UnknownNameError
from fal_testing import ProcessHost, other_python
from fal_testing.pythons import InstalledPython


def test_function_runs_in_another_python() -> None:
    """While the context lasts, a function runs in a Python that the test does not run in."""
    with other_python() as version:

        @function("installed-python", python_version=version, host=ProcessHost())
        def find_version() -> str:
            import sys

            return f"{sys.version_info.major}.{sys.version_info.minor}"

        assert find_version() == version != THIS_PYTHON
        with pytest.raises(EnvironmentBuildError, match=r"Python 3\.9999 is not installed"):
            find_version.on(python_version="3.9999")()
    with pytest.raises(OptionError, match="takes no requirements"):
        InstalledPython(python_version=version).extend(["humanize"])
    assert InstalledPython(python_version=version).key != InstalledPython().key
    with pytest.raises(UnknownNameError, match="installed-python"):
        function("installed-python")


def test_test_is_skipped_where_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no other Python is installed the test is skipped, and says why."""
    monkeypatch.setenv("PATH", str(tmp_path))
    skipped = pytest.raises(pytest.skip.Exception, match=f"beside {THIS_PYTHON}")
    with skipped, other_python():
        raise AssertionError
