"""Child processes of functions, which find the module of their function."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

USE = """
results, code = {module}.pools(sys.argv[1])
assert code == 0
assert [type(result) for result in results] == [{module}.Own] * 3
assert [result.number for result in results] == [0, 2, 4]
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes_run_functions_of_the_module(
    method: str, run_project: Callable[..., str]
):
    """
    A pool finds the functions and classes of the function's own module, however it
    starts its processes; what they print arrives.
    """
    printed = run_project("import tasks\n" + USE.format(module="tasks"), method)
    assert "child 7" in printed.splitlines()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_of_processes_run_functions_of_a_program(
    method: str, run_project: Callable[..., str], tasks_module: str
):
    """The same where the functions are those of the program itself, ``__main__``."""
    program = tasks_module + "\nif __name__ == '__main__':\n"
    program += textwrap.indent(USE.replace("{module}.", ""), "    ")
    assert "child 7" in run_project(program, method).splitlines()


def test_pickle_refers_to_objects_that_travelled(run_project: Callable[..., str]):
    """
    In a worker ``pickle`` takes functions and classes of the module by their names,
    and results are of the caller's own classes all the same.
    """
    run_project(
        """
        import tasks

        for _ in range(2):
            assert type(tasks.pickled()) is tasks.Own
        """
    )
