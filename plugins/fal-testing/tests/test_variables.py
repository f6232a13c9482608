"""A Python with variables: its functions see them, and whether it was built here is known."""

from __future__ import annotations

import pytest

from fal_core import function
from fal_core.errors import OptionError, UnknownNameError
from fal_testing import ProcessHost
from fal_testing.variables import (
    VARIABLE,
    PythonWithVariables,
    python_with_variables,
    was_built_here,
)


def test_function_sees_the_variable_of_its_environment() -> None:
    """While the context lasts, a function sees the value that it declares."""
    with python_with_variables() as value:

        @function("python-with-variables", law_value=value, host=ProcessHost())
        def read(name: str) -> str | None:
            import os

            return os.environ.get(name)

        assert not was_built_here(value)
        assert read(VARIABLE) == value
        assert was_built_here(value)
    first, second = PythonWithVariables(law_value="1"), PythonWithVariables(law_value="2")
    assert first.key != second.key
    with pytest.raises(OptionError, match="takes no requirements"):
        first.extend(["humanize"])
    with pytest.raises(UnknownNameError, match="python-with-variables"):
        function("python-with-variables")
