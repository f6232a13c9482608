"""Functions that run in conda environments."""

from __future__ import annotations

from fal_core import function
from fal_testing import ProcessHost


def test_function_runs_in_its_environment(channel: str) -> None:
    """A function imports the packages that it asks for, and its answer comes back."""

    @function("conda", host=ProcessHost(), packages=["alpha-one=1"], channels=[channel])
    def describe(greeting: str) -> tuple[str, str]:
        import os

        import alpha_one

        return greeting + alpha_one.version, os.environ["CONDA_PREFIX"]

    text, prefix = describe("version ")
    assert text == "version 1.0"
    assert "/cache/conda/" in prefix


def test_function_runs_on_another_python(channel: str, other_python: str) -> None:
    """A function travels as source to a Python of another version."""

    @function("conda", host=ProcessHost(), python_version=other_python, channels=[channel])
    def version() -> str:
        import platform

        return ".".join(platform.python_version_tuple()[:2])

    assert version() == other_python
